/* Internals of line editing, shared by the files that are about it: line.c (lines for the REPL), editor.c
   (libedit and the terminal), keys.c (what keys do), recall.c (the history). */
#ifndef BAM_EDITOR_H
#define BAM_EDITOR_H

#include "display.h"

#include <histedit.h>
#include <lua.h>
#include <stdbool.h>

/* How far the Up key has gone into the history. */
struct host_recall {
  int place;   /* 0: the text that was being typed; n: the n-th newest entry that matches */
  char *typed; /* the text that was being typed; its first `prefix` bytes are searched for */
  size_t prefix;
  char *shown; /* the entry shown last; if the text differs, a new search begins */
};

struct host_editor {
  EditLine *edit;
  History *history;
  lua_State *L;  /* of the reader in use; its value `functions` has the functions of bam.repl */
  int functions; /* a reference in the registry */
  const char *prompt, *next_prompt; /* borrowed while a line is read */
  struct host_display display;
  struct host_recall recall;
  bool is_vi; /* then pasted text is not bracketed */
  bool accepted, cancelled, hung_up;
  unsigned char result; /* of the function that runs protected, for libedit: CC_REFRESH, ... */
};

/* The editor for the one terminal; NULL if memory is short or libedit refuses the terminal. It is created once and
   never freed: el_end would leak the names given to EL_ADDFN. */
struct host_editor *host_editor_get(void);

/* Makes the terminal ready for a line, and restores it. */
void host_editor_begin(struct host_editor *editor);
void host_editor_end(struct host_editor *editor);

/* Reads a character for libedit, and draws before waiting for one. Returns 1; 0 at the end of input. */
int host_editor_read(EditLine *edit, wchar_t *c);

/* The editor of libedit's callbacks. */
struct host_editor *host_editor_of(EditLine *edit);

/* Draws the text; draws it to its end and goes to the row below, before other output. */
void host_editor_draw(struct host_editor *editor);
void host_editor_leave(struct host_editor *editor);

/* Restores the terminal, stops the process as Ctrl-Z does, and continues. */
void host_editor_suspend(struct host_editor *editor);

/* Calls a Lua function of bam.repl with the `nargs` values on top. Returns whether it succeeded; then its results
   are on the stack. Errors are dropped: a key does nothing then. */
bool host_editor_call(struct host_editor *editor, const char *function, int nargs, int nresults);

/* Binds the keys in libedit's emacs mode or vi mode; defines the functions that they are bound to. */
void host_keys_bind(struct host_editor *editor, bool vi);
void host_keys_define(struct host_editor *editor);

/* Replaces the text by an entry of the history that begins with what was typed before the cursor: the next older
   one, or the next newer one. Returns whether there is one. */
bool host_recall_move(struct host_editor *editor, bool older);

/* Forgets the search, as a new line begins. */
void host_recall_reset(struct host_editor *editor);

#endif
