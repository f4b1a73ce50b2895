/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_ZYGOTE_IMAGE_H
#define SLOT_ZYGOTE_IMAGE_H

/* What /proc shows of the memory of toolring-zygote.so's process: mappings and command line. */

#include <stddef.h>

/*
 * Puts anonymous memory in the place of the mappings of this object's file, which would show in
 * /proc/PID/maps. If it is refused, they show, and nothing else is different.
 */
void image_hide_object(void);

/* Wipes this process's command line but for argv[0]; env: as the kernel left it, main()'s third. */
void image_take_arguments(char **env);

/* Makes these n bytes, strings each ended by NUL, the command line. They must stay where they are. */
void image_show_arguments(char *arguments, size_t n);

#endif
