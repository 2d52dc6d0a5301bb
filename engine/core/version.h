/* The version of bamlua: major.minor.patch, in this file only. Programs, checkpoints and documentation
   take it from here. */
#ifndef BAM_VERSION_H
#define BAM_VERSION_H

#define BAM_VERSION "0.2.0"

#endif
