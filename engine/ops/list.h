/* The ops: one line each, grouped by the file that defines them. */
#define BAM_OPS(X)                                                                                \
  /* view.c */ X(reshape) X(view) X(permute) X(narrow) X(select) X(expand)                        \
  /* copy.c */ X(contiguous) X(clone) X(to)
