/* Graphs of device work (engine/core/capture.h) for lua/bam/tensor/graph.lua. */
#include "../../engine/core/capture.h"

#include "bind.h"

#define CAPTURE "bam.Capture"

static bam_capture **check_handle(lua_State *L) {
  bam_capture **handle = luaL_testudata(L, 1, CAPTURE);
  if (handle == NULL)
    bind_error(L, "expected a capture, got %s; call methods with a colon", bind_describe(L, 1));
  return handle;
}

static bam_capture *check_capture(lua_State *L) {
  bam_capture *capture = *check_handle(L);
  if (capture == NULL)
    bind_error(L, "this capture was closed");
  return capture;
}

static int capture_collect(lua_State *L) {
  bam_capture **handle = lua_touserdata(L, 1);
  bam_capture_free(*handle);
  *handle = NULL;
  return 0;
}

BIND_DOC(
  capture_class, "bam.Capture",
  "Work of a device that was recorded and can be run again. It keeps the memory that it uses "
  "until it is closed.");

BIND_DOC(capture_finish, "capture:finish()",
         "End the recording, with an error if something could not be recorded.");
static int capture_finish(lua_State *L) {
  bind_check(L, bam_capture_end(check_capture(L)));
  return 0;
}

BIND_DOC(capture_launch, "capture:launch()",
         "Run what was recorded, unless something that it depends on has changed.\n"
         "@return string? obstacle why it did not run; then call the function\n"
         "@return boolean? lasting it can never run again; close it and record another");
static int capture_launch(lua_State *L) {
  bam_capture *capture = check_capture(L);
  bool lasting;
  const char *obstacle = bam_capture_obstacle(capture, &lasting);
  if (obstacle == NULL) {
    bind_check(L, bam_capture_launch(capture));
    return 0;
  }
  lua_pushstring(L, obstacle);
  lua_pushboolean(L, lasting);
  return 2;
}

BIND_DOC(capture_close, "capture:close()",
         "Drop the recording and give its memory back. Closing it again is fine.");
static int capture_close(lua_State *L) {
  check_handle(L);
  return capture_collect(L);
}

static int capture_describe(lua_State *L) {
  lua_pushstring(L, *check_handle(L) != NULL ? "capture" : "capture (closed)");
  return 1;
}

const bind_export bind_capture_methods[] = {
  BIND_TOPIC(capture_class),
  BIND_EXPORT(capture_finish),
  BIND_EXPORT(capture_launch),
  BIND_EXPORT(capture_close),
  { NULL, NULL },
};

BIND_DOC(
  capture_begin, "capture(device)",
  "Begin to record what a device is asked for instead of doing it. bam.graph does it right.\n"
  "@param device device\n"
  "@return bam.Capture");
static int capture_begin(lua_State *L) {
  bam_device *device = bind_device(L, 1, "capture");
  bam_capture *none = NULL;
  bam_capture **handle = bind_push_owner(L, &none, sizeof none, CAPTURE, capture_collect);
  bind_set_type(L, bind_capture_methods, capture_close, capture_describe);
  bind_check(L, bam_capture_begin(bind_context(L), device, handle));
  return 1;
}

BIND_DOC(capture_input, "capture_input(input, from)",
         "Copy a tensor into an input of a capture, with what is known of its integers.\n"
         "@param input tensor contiguous, of the shape and dtype of from\n"
         "@param from tensor");
static int capture_input(lua_State *L) {
  bam_tensor *input = bind_tensor(L, 1), *from = bind_tensor(L, 2);
  if (input->dtype != from->dtype || !bam_shape_equal(&input->shape, &from->shape))
    return bind_error(L, "capture_input: the tensors have different dtypes or shapes");
  bind_check(L, bam_capture_set_input(input, from));
  return 0;
}

const bind_export bind_capture_functions[] = {
  BIND_EXPORT(capture_begin),
  BIND_EXPORT(capture_input),
  { NULL, NULL },
};
