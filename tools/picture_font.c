/* The font of picture.h: strokes of one width, drawn for this project, for any size.
 *
 * A glyph is a text of strokes apart by blanks; a stroke is a list of points, two characters each: x, then y upwards
 * from the baseline, in half units. '0'..'9' are 0 to 9, 'A'..'Z' 10 to 35, 'a'..'i' -1 to -9. '~' before a point makes
 * it the control point of a quadratic curve; between two control points the curve passes their middle, so that four
 * corners with '~' give a round shape. Capitals reach 'K' (20), small letters 'E' (14), descenders 'f' (-6).
 */
#include "picture.h"
#include <math.h>
#include <string.h>

typedef struct {
    uint32_t code;
    const char *strokes;
} glyph;

static const char *const ascii[] = {
    /* ! */ "0K06 00",
    /* " */ "0K0F 4K4F",
    /* # */ "5K30 BK90 0DED 06E6",
    /* $ */ "BG~AK6K~0K0F~0B6A~C9C5~C060~1004 6N6c",
    /* % */ "00CK 0H~0K3K~6K6H~6E3E~0E0H 63~6696~C6C3~C090~6063",
    /* & */ "C02E~0K5K~AK8E~7B28~0704~0050~90C8",
    /* ' */ "0K0F",
    /* ( */ "4M~0H09~014d",
    /* ) */ "0M~4H49~410d",
    /* * */ "5J59 1G9C 9G1C",
    /* + */ "08C8 6E62",
    /* , */ "200d",
    /* - */ "0888",
    /* . */ "00",
    /* / */ "008K",
    /* 0 */ "0A~0K5K~AKAA~A050~000A",
    /* 1 */ "1F6K60",
    /* 2 */ "0F~0K5K~AKAF~AC7800A0",
    /* 3 */ "0G~1K5K~9K9F~9B5B3B 5B~ABA6~A050~1004",
    /* 4 */ "808K06B6",
    /* 5 */ "9K1K0B~2D5D~ADA7~A050~1004",
    /* 6 */ "9H~8K5K~0K0A06~0050~A0A6~AC5C~0C06",
    /* 7 */ "0KAK30",
    /* 8 */ "5B~1B1F~1K5K~9K9F~9B5B~0B05~0050~A0A5~AB5B",
    /* 9 */ "13~2050~A0AAAE~AK5K~0K0E~0858~A8AE",
    /* : */ "00 0A",
    /* ; */ "200d 2A",
    /* < */ "AE08A2",
    /* = */ "0ACA 04C4",
    /* > */ "0EA802",
    /* ? */ "0G~0K5K~AKAG~AC5B56 50",
    /* @ */ "BE~BG8G~5G5A~5585~B5BABG BA~B5E5~G5GA~GK8K~0K08~0c8cCb",
    /* A */ "006KC0 27A7",
    /* B */ "000K5K~BK~BA5A0A 5A~CA~C05000",
    /* C */ "CF~BK6K~0K0A~0060~B0C5",
    /* D */ "000K4K~CKCA~C04000",
    /* E */ "AK0K00A0 0A8A",
    /* F */ "AK0K00 0A8A",
    /* G */ "CF~BK6K~0K0A~0060~C0C979",
    /* H */ "000K C0CK 0ACA",
    /* I */ "000K",
    /* J */ "8K86~8040~0005",
    /* K */ "000K BK08 4CC0",
    /* L */ "0K00A0",
    /* M */ "000K76EKE0",
    /* N */ "000KC0CK",
    /* O */ "0A~0K7K~EKEA~E070~000A",
    /* P */ "000K6K~CK~C96909",
    /* Q */ "0A~0K7K~EKEA~E070~000A 96Eb",
    /* R */ "000K6K~CK~C96909 69C0",
    /* S */ "BG~AK6K~0K0F~0B6A~C9C5~C060~1004",
    /* T */ "0KCK 6K60",
    /* U */ "0K07~0060~C0C7CK",
    /* V */ "0K60CK",
    /* W */ "0K409IE0IK",
    /* X */ "0KC0 CK00",
    /* Y */ "0K6ACK 6A60",
    /* Z */ "0KCK00C0",
    /* [ */ "4M0M0d4d",
    /* \ */ "0K80",
    /* ] */ "0M4M4d0d",
    /* ^ */ "0D5KAD",
    /* _ */ "0bCb",
    /* ` */ "0K3G",
    /* a */ "1B~2E5E~AEA9A0 A848~0804~0040~90A4",
    /* b */ "0K00 07~0E5E~AEA7~A050~0007",
    /* c */ "AA~9E5E~0E07~0050~90A4",
    /* d */ "AKA0 A7~AE5E~0E07~0050~A0A7",
    /* e */ "07A7~AE5E~0E07~0050~90A3",
    /* f */ "7K~2K2F20 0E6E",
    /* g */ "AEAa~Af5f~1f0d A7~AE5E~0E07~0050~A0A7",
    /* h */ "0K00 08~0E5E~AEA8A0",
    /* i */ "0E00 0J",
    /* j */ "4E4b~4f0f 4J",
    /* k */ "0K00 9E05 38A0",
    /* l */ "0K04~0030",
    /* m */ "0E00 09~0E4E~8E8980 89~8ECE~GEG9G0",
    /* n */ "0E00 08~0E5E~AEA8A0",
    /* o */ "07~0E5E~AEA7~A050~0007",
    /* p */ "0E0f 07~0E5E~AEA7~A050~0007",
    /* q */ "AEAf A7~AE5E~0E07~0050~A0A7",
    /* r */ "0E00 08~0E6E",
    /* s */ "8B~7E4E~0E0A~0847~8684~8040~1003",
    /* t */ "2J24~2060 0E6E",
    /* u */ "0E06~0050~A0A6 AEA0",
    /* v */ "0E50AE",
    /* w */ "0E407CA0EE",
    /* x */ "0EA0 AE00",
    /* y */ "0E50 AE3f",
    /* z */ "0EAE00A0",
    /* { */ "5M~2M2G~2908~272a~2d5d",
    /* | */ "0M0d",
    /* } */ "0M~3M3G~3958~373a~3d0d",
    /* ~ */ "06~3C68~95CA",
};

static const glyph others[] = {
    {0xb7, "08"},              /* middle dot */
    {0xd7, "0DA3 AD03"},       /* times */
    {0x3bb, "0K~3K4GA0 5D00"}, /* lambda */
    {0x2192, "08E8 ACE8A4"},   /* arrow to the right */
    {0x2193, "8K80 4480C4"},   /* arrow down */
    {0x2212, "08C8"},          /* minus */
    {0x2264, "AG0AA4 00A0"},   /* at most */
};

enum { TRACKING = 6, SPACE = 9, DIGIT = 10, CURVE = 6, MOST_POINTS = 160, MOST_STROKES = 8 };

static const char *glyph_strokes(uint32_t code)
{
    if (code > ' ' && code <= '~') return ascii[code - '!'];
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        if (others[n].code == code) return others[n].strokes;
    return "0KAKA0000K"; /* a box: no such glyph */
}

/* The next code point of UTF-8; a byte that begins none stands for itself. */
static uint32_t next_code(const char **text)
{
    const unsigned char *t = (const unsigned char *)*text;
    const int32_t more = t[0] >= 0xe0 && t[0] < 0xf0 ? 2 : t[0] >= 0xc0 && t[0] < 0xe0 ? 1 : 0;
    uint32_t code = more == 2 ? t[0] & 15 : more == 1 ? t[0] & 31 : t[0];
    for (int32_t n = 1; n <= more; n++) {
        if ((t[n] & 0xc0) != 0x80) {
            *text += 1;
            return t[0];
        }
        code = code << 6 | (t[n] & 63);
    }
    *text += more + 1;
    return code;
}

static int32_t coordinate(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 'a' - 1 - c;
}

/* Half units to the right; of a digit always the same. */
static int32_t glyph_width(uint32_t code)
{
    if (code == ' ') return SPACE - TRACKING;
    if (code >= '0' && code <= '9') return DIGIT;
    int32_t width = 0;
    for (const char *s = glyph_strokes(code); *s;) {
        if (*s == ' ' || *s == '~') {
            s++;
            continue;
        }
        if (coordinate(s[0]) > width) width = coordinate(s[0]);
        s += 2;
    }
    return width;
}

double picture_text_width(double size, const char *text)
{
    int32_t width = 0;
    while (*text) width += glyph_width(next_code(&text)) + TRACKING;
    return (width > 0 ? width - TRACKING : 0) * size / 2;
}

typedef struct {
    picture_point points[MOST_POINTS];
    int32_t counts[MOST_STROKES], strokes, total;
} outline;

static void add_point(outline *o, double x, double y)
{
    if (o->total == MOST_POINTS) return;
    o->points[o->total++] = (picture_point){x, y};
    o->counts[o->strokes - 1]++;
}

static void add_curve(outline *o, picture_point control, picture_point end)
{
    const picture_point start = o->points[o->total - 1];
    for (int32_t n = 1; n <= CURVE; n++) {
        const double t = (double)n / CURVE, a = (1 - t) * (1 - t), b = 2 * t * (1 - t), c = t * t;
        add_point(o, a * start.x + b * control.x + c * end.x, a * start.y + b * control.y + c * end.y);
    }
}

/* The glyph's strokes in half units, curves made of segments. */
static void trace(const char *strokes, outline *o)
{
    picture_point control = {0, 0};
    int curved = 0;
    o->total = 0;
    o->strokes = 1;
    o->counts[0] = 0;
    for (const char *s = strokes; *s;) {
        if (*s == ' ') {
            o->counts[o->strokes++] = 0;
            s++;
            continue;
        }
        const int off = *s == '~';
        s += off;
        const picture_point at = {coordinate(s[0]), coordinate(s[1])};
        s += 2;
        if (curved)
            add_curve(o, control, off ? (picture_point){(control.x + at.x) / 2, (control.y + at.y) / 2} : at);
        else if (!off)
            add_point(o, at.x, at.y);
        curved = off;
        control = at;
    }
}

/* dx, dy: the direction of reading; extra: half units between letters beyond the usual. Strokes run along the middle of
 * pixels, so that they are sharp. */
static void write_text(picture *p, double x, double y, double dx, double dy, double size, double width, int32_t extra,
                       picture_align align, uint32_t colour, const char *text)
{
    const double whole = picture_text_width(size, text) + (double)strlen(text) * extra * size / 2;
    const double back = align == PICTURE_LEFT ? 0 : align == PICTURE_RIGHT ? whole : whole / 2;
    double pen_x = floor(x - dx * back) + 0.5, pen_y = floor(y - dy * back) + 0.5;
    if (dx != 0)
        pen_y -= 1;
    else
        pen_x -= 1;
    while (*text) {
        const uint32_t code = next_code(&text);
        if (code != ' ') {
            outline o;
            const double centre = code == '1' ? 2 : 0;
            trace(glyph_strokes(code), &o);
            for (int32_t n = 0; n < o.total; n++) {
                const double along = (o.points[n].x + centre) * size / 2, up = o.points[n].y * size / 2;
                o.points[n] = (picture_point){pen_x + dx * along + dy * up, pen_y + dy * along - dx * up};
            }
            picture_strokes(p, o.points, o.counts, o.strokes, width, colour);
        }
        const double advance = (glyph_width(code) + TRACKING + extra) * size / 2;
        pen_x += dx * advance;
        pen_y += dy * advance;
    }
}

void picture_text(picture *p, double x, double y, double size, picture_align align, uint32_t colour, const char *text)
{
    write_text(p, x, y, 1, 0, size, 0.45 + 0.8 * size, 0, align, colour, text);
}

void picture_text_bold(picture *p, double x, double y, double size, picture_align align, uint32_t colour,
                       const char *text)
{
    write_text(p, x, y, 1, 0, size, 0.5 + 1.3 * size, 1, align, colour, text);
}

void picture_text_up(picture *p, double x, double y, double size, picture_align align, uint32_t colour,
                     const char *text)
{
    write_text(p, x, y, 0, -1, size, 0.45 + 0.8 * size, 0, align, colour, text);
}
