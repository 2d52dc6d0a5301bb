/* Tests that run once with each of several parameters; see criterion.h. */
#ifndef BAM_CASES_PARAMETERIZED_H
#define BAM_CASES_PARAMETERIZED_H

#include "criterion.h"

#define cr_calloc calloc
#define cr_make_param_array(Type, array, length) \
  ((cases_parameters){ .size = sizeof(Type), .all = (array), .count = (length) })

#define ParameterizedTestParameters(Suite, Name) \
  static cases_parameters cases_##Suite##_##Name##_parameters(void)

#define ParameterizedTest(Parameter, Suite, Name, ...)                     \
  static void cases_##Suite##_##Name##_body(Parameter);                    \
  static void cases_##Suite##_##Name(void *parameter) {                    \
    cases_##Suite##_##Name##_body(parameter);                              \
  }                                                                        \
  CASES_ADD(Suite, Name, cases_##Suite##_##Name##_parameters, __VA_ARGS__) \
  static void cases_##Suite##_##Name##_body(Parameter)

#endif
