/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_MIME_H
#define BACKEND_LOCAL_MIME_H

#include "base/span.h"

/* The type of a file by its name alone, never by what is in it: "application/octet-stream" unless known. */
const char *local_mime(struct span path);

#endif
