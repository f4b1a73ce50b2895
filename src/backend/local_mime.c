/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types by file names, as Python's mimetypes has them without any file of the machine's, since that is
 * what clients are used to: "a.tar.gz" is a tar that was compressed, so its type is the tar's.
 */
#include "backend/local_mime.h"

#include <stdlib.h>
#include <strings.h>

#define UNKNOWN       "application/octet-stream"
#define EXTENSION_MAX 16 /* with its NUL; none that is known is longer */

struct row {
	char extension[EXTENSION_MAX];
	const char *type;
};

/* In the order of strcmp(). What is an octet stream anyway is not among them. */
static const struct row rows[] = {
	{"3g2", "audio/3gpp2"},
	{"3gp", "audio/3gpp"},
	{"3gpp", "audio/3gpp"},
	{"3gpp2", "audio/3gpp2"},
	{"aac", "audio/aac"},
	{"adts", "audio/aac"},
	{"ai", "application/postscript"},
	{"aif", "audio/x-aiff"},
	{"aifc", "audio/x-aiff"},
	{"aiff", "audio/x-aiff"},
	{"ass", "audio/aac"},
	{"au", "audio/basic"},
	{"avi", "video/x-msvideo"},
	{"avif", "image/avif"},
	{"bat", "text/plain"},
	{"bcpio", "application/x-bcpio"},
	{"bmp", "image/bmp"},
	{"c", "text/plain"},
	{"cdf", "application/x-netcdf"},
	{"cpio", "application/x-cpio"},
	{"csh", "application/x-csh"},
	{"css", "text/css"},
	{"csv", "text/csv"},
	{"doc", "application/msword"},
	{"dot", "application/msword"},
	{"dvi", "application/x-dvi"},
	{"eml", "message/rfc822"},
	{"eps", "application/postscript"},
	{"etx", "text/x-setext"},
	{"gif", "image/gif"},
	{"gtar", "application/x-gtar"},
	{"h", "text/plain"},
	{"h5", "application/x-hdf5"},
	{"hdf", "application/x-hdf"},
	{"heic", "image/heic"},
	{"heif", "image/heif"},
	{"htm", "text/html"},
	{"html", "text/html"},
	{"ico", "image/vnd.microsoft.icon"},
	{"ief", "image/ief"},
	{"jpe", "image/jpeg"},
	{"jpeg", "image/jpeg"},
	{"jpg", "image/jpeg"},
	{"js", "application/javascript"},
	{"json", "application/json"},
	{"ksh", "text/plain"},
	{"latex", "application/x-latex"},
	{"loas", "audio/aac"},
	{"m1v", "video/mpeg"},
	{"m3u", "application/vnd.apple.mpegurl"},
	{"m3u8", "application/vnd.apple.mpegurl"},
	{"man", "application/x-troff-man"},
	{"me", "application/x-troff-me"},
	{"mht", "message/rfc822"},
	{"mhtml", "message/rfc822"},
	{"mif", "application/x-mif"},
	{"mjs", "application/javascript"},
	{"mov", "video/quicktime"},
	{"movie", "video/x-sgi-movie"},
	{"mp2", "audio/mpeg"},
	{"mp3", "audio/mpeg"},
	{"mp4", "video/mp4"},
	{"mpa", "video/mpeg"},
	{"mpe", "video/mpeg"},
	{"mpeg", "video/mpeg"},
	{"mpg", "video/mpeg"},
	{"ms", "application/x-troff-ms"},
	{"n3", "text/n3"},
	{"nc", "application/x-netcdf"},
	{"nq", "application/n-quads"},
	{"nt", "application/n-triples"},
	{"nws", "message/rfc822"},
	{"oda", "application/oda"},
	{"opus", "audio/opus"},
	{"p12", "application/x-pkcs12"},
	{"p7c", "application/pkcs7-mime"},
	{"pbm", "image/x-portable-bitmap"},
	{"pdf", "application/pdf"},
	{"pfx", "application/x-pkcs12"},
	{"pgm", "image/x-portable-graymap"},
	{"pl", "text/plain"},
	{"png", "image/png"},
	{"pnm", "image/x-portable-anymap"},
	{"pot", "application/vnd.ms-powerpoint"},
	{"ppa", "application/vnd.ms-powerpoint"},
	{"ppm", "image/x-portable-pixmap"},
	{"pps", "application/vnd.ms-powerpoint"},
	{"ppt", "application/vnd.ms-powerpoint"},
	{"ps", "application/postscript"},
	{"pwz", "application/vnd.ms-powerpoint"},
	{"py", "text/x-python"},
	{"pyc", "application/x-python-code"},
	{"pyo", "application/x-python-code"},
	{"qt", "video/quicktime"},
	{"ra", "audio/x-pn-realaudio"},
	{"ram", "application/x-pn-realaudio"},
	{"ras", "image/x-cmu-raster"},
	{"rdf", "application/xml"},
	{"rgb", "image/x-rgb"},
	{"roff", "application/x-troff"},
	{"rtx", "text/richtext"},
	{"sgm", "text/x-sgml"},
	{"sgml", "text/x-sgml"},
	{"sh", "application/x-sh"},
	{"shar", "application/x-shar"},
	{"snd", "audio/basic"},
	{"src", "application/x-wais-source"},
	{"srt", "text/plain"},
	{"sv4cpio", "application/x-sv4cpio"},
	{"sv4crc", "application/x-sv4crc"},
	{"svg", "image/svg+xml"},
	{"swf", "application/x-shockwave-flash"},
	{"t", "application/x-troff"},
	{"tar", "application/x-tar"},
	{"tcl", "application/x-tcl"},
	{"tex", "application/x-tex"},
	{"texi", "application/x-texinfo"},
	{"texinfo", "application/x-texinfo"},
	{"tif", "image/tiff"},
	{"tiff", "image/tiff"},
	{"tr", "application/x-troff"},
	{"trig", "application/trig"},
	{"tsv", "text/tab-separated-values"},
	{"txt", "text/plain"},
	{"ustar", "application/x-ustar"},
	{"vcf", "text/x-vcard"},
	{"vtt", "text/vtt"},
	{"wasm", "application/wasm"},
	{"wav", "audio/x-wav"},
	{"webm", "video/webm"},
	{"webmanifest", "application/manifest+json"},
	{"wiz", "application/msword"},
	{"wsdl", "application/xml"},
	{"xbm", "image/x-xbitmap"},
	{"xlb", "application/vnd.ms-excel"},
	{"xls", "application/vnd.ms-excel"},
	{"xml", "text/xml"},
	{"xpdl", "application/xml"},
	{"xpm", "image/x-xpixmap"},
	{"xsl", "application/xml"},
	{"xwd", "image/x-xwindowdump"},
	{"zip", "application/zip"},
};

/* How a file is packed, which is no type of its own; and names that stand for two of these. */
static const char *const packings[] = {"gz", "bz2", "xz", "br"};
static const struct row packed[] = {
	{"svgz", "image/svg+xml"},    {"taz", "application/x-tar"}, {"tbz2", "application/x-tar"},
	{"tgz", "application/x-tar"}, {"txz", "application/x-tar"}, {"tz", "application/x-tar"},
};

static int compare(const void *key, const void *row)
{
	return strcmp(key, ((const struct row *)row)->extension);
}

/* Takes the extension off a file's name. "": it has none; dots in front of a name begin none. */
static void take_extension(struct span *name, char ret_extension[EXTENSION_MAX])
{
	size_t at = name->n, first = 0;

	ret_extension[0] = 0;
	while (first < name->n && name->data[first] == '.')
		first++;
	while (at > first && name->data[at - 1] != '.')
		at--;
	if (at == first || name->n - at >= EXTENSION_MAX)
		return;
	memcpy(ret_extension, name->data + at, name->n - at);
	ret_extension[name->n - at] = 0;
	name->n = at - 1;
}

static bool is_packing(const char *extension)
{
	/* That of compress is the one whose case counts. */
	if (!strcmp(extension, "Z"))
		return true;
	for (size_t i = 0; i < sizeof(packings) / sizeof(*packings); i++)
		if (!strcmp(extension, packings[i]))
			return true;
	return false;
}

const char *local_mime(struct span path)
{
	const uint8_t *slash = path.n ? memrchr(path.data, '/', path.n) : NULL;
	struct span name = path;
	char extension[EXTENSION_MAX];
	const struct row *row;

	if (slash)
		name = span_of(slash + 1, (size_t)(path.data + path.n - slash - 1));
	take_extension(&name, extension);
	for (size_t i = 0; i < sizeof(packed) / sizeof(*packed); i++)
		if (!strcasecmp(extension, packed[i].extension))
			return packed[i].type;
	if (is_packing(extension))
		take_extension(&name, extension);
	for (char *c = extension; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c | 0x20);
	row = bsearch(extension, rows, sizeof(rows) / sizeof(*rows), sizeof(*rows), compare);
	return row ? row->type : UNKNOWN;
}
