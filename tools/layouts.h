/* The layouts in which a problem's tensors are tried. Index tensors, sink and dslopes are always compact. */
#ifndef TOOLS_LAYOUTS_H
#define TOOLS_LAYOUTS_H

typedef enum {
    LAYOUT_PLAIN,       /* compact, in logical order */
    LAYOUT_HEADS_FIRST, /* [B, H, T, D] in memory, seen as [B, T, H, D]; states [H, B, D, Dv] */
    LAYOUT_INTERLEAVED, /* q, k, v in one buffer of max(Tq, Tk) rows, reached by byte_offset; so are dq dk dv, o and do,
                           lse and dlse, s0 and dst, st and ds0, and the parts of a merge; slopes two elements apart */
    LAYOUT_PADDED,      /* rows, of the last dimension, 8 elements further apart */
    LAYOUTS
} layout;

const char *layout_name(layout); /* plain heads-first interleaved padded */

#endif
