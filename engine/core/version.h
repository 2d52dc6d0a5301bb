/* The version of bamlua, named in one place. */
#ifndef BAM_VERSION_H
#define BAM_VERSION_H

#define BAM_VERSION "0.2.0"

#endif
