/*
 * ASCII, Latin-1, most of Latin Extended-A and common typographic marks; a box stands for the rest.
 *
 * A glyph is text: its width, ':' and strokes separated by ';'. A stroke is a list of points "x,y";
 * a point after '~' bends the line towards itself (a quadratic curve), two of them in a row meet
 * half-way. "&c,scale,dx,dy" stands for another glyph. Twenty units are one em: capitals are 14
 * high, small letters 10, the baseline is 0.
 */

#include "font.h"

#include <math.h>

enum { EM = 20, FIRST_GLYPH = ' ', LAST_GLYPH = '~', CURVE_STEPS = 6 };

#define SIDE 1.45 /* space on each side of a glyph */

static const char *const ASCII_GLYPHS[] = {
    "2.6:", /* space */
    "1.6:0.8,14 0.8,4;0.8,0.7 0.8,0.3",
    "4.7:0.7,14 0.7,9.5;4,14 4,9.5",
    "9.3:3.3,13.5 2.1,0.5;7.4,13.5 6.2,0.5;0.9,9.4 9,9.4;0.3,4.6 8.4,4.6",
    "8.6:7.9,10.3 ~7.2,12.6 4.4,12.6 ~1,12.6 1,9.9 ~1,7.7 4.4,7 ~8.2,6.2 8.2,3.9 ~8.2,1.2 4.5,1.2 "
    "~1.3,1.2 0.6,3.9;4.4,14.8 4.4,-1",
    "14.6:3.2,14 ~0.6,14 0.6,10.6 ~0.6,7.2 3.2,7.2 ~5.8,7.2 5.8,10.6 ~5.8,14 3.2,14;"
    "11.4,6.8 ~8.8,6.8 8.8,3.4 ~8.8,0 11.4,0 ~14,0 14,3.4 ~14,6.8 11.4,6.8;11,14 3.6,0",
    "11:10.5,0 3.2,9 ~2,10.5 2,11.5 ~2,14 4.5,14 ~6.9,14 6.9,11.6 ~6.9,9.7 4.4,8 ~0.7,6 0.7,3.5 "
    "~0.7,0 4.3,0 ~8.5,0 9.4,6.5",
    "1.4:0.7,14 0.7,9.5",
    "4:3.6,15 ~0.7,11.2 0.7,5.5 ~0.7,-0.2 3.6,-4",
    "4:0.4,15 ~3.3,11.2 3.3,5.5 ~3.3,-0.2 0.4,-4",
    "5.8:2.9,14 2.9,8;0.3,12.6 5.5,9.4;5.5,12.6 0.3,9.4",
    "9.2:4.6,11 4.6,2;0.3,6.5 8.9,6.5",
    "1.8:1.1,0.6 1.1,0 ~1.1,-1.5 0.3,-2.8",
    "5:0.3,5.2 4.7,5.2",
    "1.6:0.8,0.7 0.8,0.3",
    "5.2:0.2,-0.8 5,14.6",
    "8.6:4.3,14 ~0.6,14 0.6,7 ~0.6,0 4.3,0 ~8,0 8,7 ~8,14 4.3,14",
    "8.6:1.3,11.2 4.8,14 4.8,0",
    "8.6:0.9,10.4 ~1.1,14 4.3,14 ~7.7,14 7.7,10.6 ~7.7,8.6 5.4,5.9 0.6,0 8,0",
    "8.6:0.9,11.2 ~1.5,14 4.2,14 ~7.5,14 7.5,10.8 ~7.5,7.4 3.4,7.4 ~8,7.4 8,3.8 ~8,0 4.2,0 ~1,0 "
    "0.6,3",
    "8.6:6.1,0 6.1,14 0.5,4.2 8.3,4.2",
    "8.6:7.4,14 1.7,14 1,7.6 ~2.4,9 4.3,9 ~8,9 8,4.6 ~8,0 4,0 ~1.1,0 0.5,3",
    "8.6:7.5,11.6 ~6.6,14 4.5,14 ~0.6,14 0.6,6.5 ~0.6,0 4.3,0 ~8,0 8,4.4 ~8,8.6 4.5,8.6 ~1.2,8.6 "
    "0.7,5",
    "8.6:0.6,14 8,14 ~4,7.5 3.2,0",
    "8.6:4.3,14 ~1.1,14 1.1,10.8 ~1.1,7.5 4.3,7.5 ~7.5,7.5 7.5,10.8 ~7.5,14 4.3,14;"
    "4.3,7.5 ~0.6,7.5 0.6,3.7 ~0.6,0 4.3,0 ~8,0 8,3.7 ~8,7.5 4.3,7.5",
    "8.6:1.1,2.4 ~2,0 4.1,0 ~8,0 8,7.5 ~8,14 4.3,14 ~0.6,14 0.6,9.6 ~0.6,5.4 4.1,5.4 ~7.4,5.4 "
    "7.9,9",
    "1.6:0.8,9.7 0.8,9.3;0.8,0.7 0.8,0.3",
    "1.8:1,9.7 1,9.3;1.1,0.6 1.1,0 ~1.1,-1.5 0.3,-2.8",
    "9.2:8.4,11 0.8,6.5 8.4,2",
    "9.2:0.3,8.6 8.9,8.6;0.3,4.4 8.9,4.4",
    "9.2:0.8,11 8.4,6.5 0.8,2",
    "7.6:0.6,10.8 ~0.9,14 3.9,14 ~7.1,14 7.1,11 ~7.1,9.2 5.4,8 ~3.8,6.9 3.8,5 3.8,4;"
    "3.8,0.7 3.8,0.3",
    "15:10.6,8.5 ~10,10.2 7.8,10.2 ~4.6,10.2 4.6,6.6 ~4.6,3.4 7.2,3.4 ~9.6,3.4 10.4,6.5;10.9,10 "
    "10.2,5.4 ~10,3.4 11.6,3.4 ~14.3,3.6 14.3,7.6 ~14.3,14 7.8,14 ~0.7,14 0.7,6 ~0.7,-2 7.6,-2 "
    "~10,-2 12,-0.6",
    "11.5:0.3,0 5.8,14 11.2,0;2.2,4.6 9.4,4.6",
    "10.3:0.7,0 0.7,14 5.5,14 ~9.3,14 9.3,10.7 ~9.3,7.5 5.5,7.5 0.7,7.5;5.5,7.5 ~10,7.5 10,3.8 "
    "~10,0 5.5,0 0.7,0",
    "11.5:11,10.5 ~10,14 6.2,14 ~0.7,14 0.7,7 ~0.7,0 6.2,0 ~10,0 11.2,3.8",
    "11.6:0.7,0 0.7,14 5,14 ~11,14 11,7 ~11,0 5,0 0.7,0",
    "9.8:9.3,14 0.7,14 0.7,0 9.5,0;0.7,7.4 8.6,7.4",
    "9.2:9,14 0.7,14 0.7,0;0.7,7.2 8,7.2",
    "11.8:11,10.8 ~9.8,14 6.3,14 ~0.7,14 0.7,7 ~0.7,0 6.3,0 ~9.5,0 11.2,2.4 11.2,6.6 6.8,6.6",
    "11.4:0.7,14 0.7,0;10.7,14 10.7,0;0.7,7.3 10.7,7.3",
    "1.6:0.8,14 0.8,0",
    "7:6.2,14 6.2,3.8 ~6.2,0 3.2,0 ~0.4,0 0.4,3.8",
    "10.4:0.7,14 0.7,0;9.8,14 0.7,5;4.2,8.4 10.2,0",
    "8.3:0.7,14 0.7,0 8,0",
    "12.8:0.7,0 0.7,14 6.4,0.8 12.1,14 12.1,0",
    "11:0.7,0 0.7,14 10.3,0 10.3,14",
    "13:6.5,14 ~0.7,14 0.7,7 ~0.7,0 6.5,0 ~12.3,0 12.3,7 ~12.3,14 6.5,14",
    "10.2:0.7,0 0.7,14 5.6,14 ~9.8,14 9.8,10 ~9.8,6.2 5.6,6.2 0.7,6.2",
    "13:6.5,14 ~0.7,14 0.7,7 ~0.7,0 6.5,0 ~12.3,0 12.3,7 ~12.3,14 6.5,14;7.8,3.6 12,-0.8",
    "10.6:0.7,0 0.7,14 5.8,14 ~10,14 10,10.5 ~10,7 5.8,7 0.7,7;6,7 10.2,0",
    "10.3:9.3,10.9 ~8.6,14 5.1,14 ~1.1,14 1.1,10.6 ~1.1,7.9 5.2,7.1 ~9.8,6.2 9.8,3.6 ~9.8,0 5.3,0 "
    "~1.4,0 0.6,3.5",
    "10.4:0.3,14 10.1,14;5.2,14 5.2,0",
    "11.3:0.7,14 0.7,5.2 ~0.7,0 5.7,0 ~10.6,0 10.6,5.2 10.6,14",
    "11.2:0.3,14 5.6,0 10.9,14",
    "16.4:0.3,14 4.2,0 8.2,13.6 12.2,0 16.1,14",
    "10.5:0.5,14 10,0;10,14 0.5,0",
    "10.4:0.3,14 5.2,6.8 10.1,14;5.2,6.8 5.2,0",
    "10.3:0.7,14 9.6,14 0.5,0 9.9,0",
    "4.2:3.8,15 0.8,15 0.8,-4 3.8,-4",
    "5.2:0.2,14.6 5,-0.8",
    "4.2:0.4,15 3.4,15 3.4,-4 0.4,-4",
    "8:0.6,8 4,14 7.4,8",
    "9:0,-3 9,-3",
    "3.5:0.4,14.4 3,12",
    "8:1,8 ~1.6,10 4,10 ~7.4,10 7.4,6.8 7.4,0;7.4,5.9 3.7,5.5 ~0.5,5 0.5,2.6 ~0.5,0 3.2,0 ~6.6,0 "
    "7.4,3.4",
    "8.5:0.5,14 0.5,0;0.5,5 ~0.5,10 4.5,10 ~8,10 8,5 ~8,0 4.5,0 ~0.5,0 0.5,5",
    "7.8:7.5,7.7 ~6.6,10 4.2,10 ~0.5,10 0.5,5 ~0.5,0 4.2,0 ~6.6,0 7.5,2.3",
    "8.5:8,14 8,0;8,5 ~8,10 4,10 ~0.5,10 0.5,5 ~0.5,0 4,0 ~8,0 8,5",
    "8.5:0.6,5.3 8,5.3 ~8,10 4.3,10 ~0.5,10 0.5,5 ~0.5,0 4.4,0 ~6.8,0 7.8,2.2",
    "5:5,14 4.4,14 ~2,14 2,11.5 2,0;0,10 4.6,10",
    "8.5:8,10 8,-0.8 ~8,-4.3 4.2,-4.3 ~1.8,-4.3 0.9,-2.4;8,5 ~8,10 4,10 ~0.5,10 0.5,5 ~0.5,0 4,0 "
    "~8,0 8,5",
    "8:0.5,14 0.5,0;0.5,6 ~1,10 4.3,10 ~7.5,10 7.5,6.5 7.5,0",
    "1.4:0.7,10 0.7,0;0.7,13.7 0.7,13.3",
    "2.4:1.7,10 1.7,-2 ~1.7,-4.2 0,-4.2;1.7,13.7 1.7,13.3",
    "7.8:0.5,14 0.5,0;7,10 0.5,4;3,6.3 7.5,0",
    "1.4:0.7,14 0.7,0",
    "13:0.5,10 0.5,0;0.5,6.5 ~0.8,10 3.7,10 ~6.5,10 6.5,6.8 6.5,0;6.5,6.5 ~6.8,10 9.7,10 ~12.5,10 "
    "12.5,6.8 12.5,0",
    "8:0.5,10 0.5,0;0.5,6 ~1,10 4.3,10 ~7.5,10 7.5,6.5 7.5,0",
    "8.5:4.25,10 ~0.5,10 0.5,5 ~0.5,0 4.25,0 ~8,0 8,5 ~8,10 4.25,10",
    "8.5:0.5,10 0.5,-4;0.5,5 ~0.5,10 4.5,10 ~8,10 8,5 ~8,0 4.5,0 ~0.5,0 0.5,5",
    "8.5:8,10 8,-4;8,5 ~8,10 4,10 ~0.5,10 0.5,5 ~0.5,0 4,0 ~8,0 8,5",
    "4.9:0.5,10 0.5,0;0.5,5.5 ~0.9,10 4.6,9.8",
    "7.8:7,7.8 ~6.2,10 3.9,10 ~0.9,10 0.9,7.6 ~0.9,5.6 3.9,5.1 ~7.3,4.5 7.3,2.5 ~7.3,0 4,0 ~1.2,0 "
    "0.5,2.3",
    "5:2,13 2,2.5 ~2,0 4,0 4.8,0.1;0,10 4.6,10",
    "8:0.5,10 0.5,3.5 ~0.5,0 3.7,0 ~7,0 7.5,4;7.5,10 7.5,0",
    "8:0.3,10 4,0 7.7,10",
    "12:0.3,10 3.2,0 6,9.6 8.8,0 11.7,10",
    "7.8:0.4,10 7.4,0;7.4,10 0.4,0",
    "8:0.3,10 4,0;7.7,10 3.6,-1.8 ~2.7,-4.2 0.7,-4.1",
    "7.8:0.6,10 7.2,10 0.5,0 7.4,0",
    "4.4:4,15 ~2,15 2,13 2,8 ~2,5.7 0.4,5.5 ~2,5.3 2,3 2,-2 ~2,-4 4,-4",
    "1.6:0.8,15 0.8,-4",
    "4.4:0.4,15 ~2.4,15 2.4,13 2.4,8 ~2.4,5.7 4,5.5 ~2.4,5.3 2.4,3 2.4,-2 ~2.4,-4 0.4,-4",
    "9.4:0.4,5.6 ~0.8,7.8 2.8,7.8 ~4.2,7.8 4.8,6.6 ~5.6,5.2 6.8,5.2 ~8.6,5.2 9,7.6",
};

typedef struct {
    uint32_t code;
    const char *glyph;
} other_glyph;

static const other_glyph OTHER_GLYPHS[] = {
    {0xA0, "2.6:"},
    {0xA1, "1.6:0.8,10 0.8,-4;0.8,13.7 0.8,13.3"},
    {0xA2, "7.8:7.5,7.7 ~6.6,10 4.2,10 ~0.5,10 0.5,5 ~0.5,0 4.2,0 ~6.6,0 7.5,2.3;4.2,12.5 4.2,-2.5"},
    {0xA3, "8.6:7.8,11 ~7.2,14 4.8,14 ~2.2,14 2.2,10.5 2.2,4 ~2.2,1.5 0.6,0 8,0;0.6,7 6,7"},
    {0xA4, "8:4,9.5 ~1.5,9.5 1.5,7 ~1.5,4.5 4,4.5 ~6.5,4.5 6.5,7 ~6.5,9.5 4,9.5;0.5,10.5 2.2,8.8;"
           "7.5,10.5 5.8,8.8;0.5,3.5 2.2,5.2;7.5,3.5 5.8,5.2"},
    {0xA5, "8.6:0.4,14 4.3,7.4 8.2,14;4.3,7.4 4.3,0;1,6.8 7.6,6.8;1,3.8 7.6,3.8"},
    {0xA6, "1.6:0.8,15 0.8,8;0.8,3 0.8,-4"},
    {0xA7, "7:6.2,12 ~5.8,14 3.5,14 ~1,14 1,12 ~1,10.4 3.5,9.2 ~6.5,7.8 6.5,6 ~6.5,4.6 5,3.8;"
           "0.8,-0.4 ~1.2,-2.4 3.5,-2.4 ~6,-2.4 6,-0.4 ~6,1.2 3.5,2.4 ~0.5,3.8 0.5,5.6 ~0.5,7 2,7.8"},
    {0xA8, "4:0.6,13.4 0.6,13;3.4,13.4 3.4,13"},
    {0xA9, "14:7,14 ~0.6,14 0.6,7 ~0.6,0 7,0 ~13.4,0 13.4,7 ~13.4,14 7,14;9.6,8.8 ~9,10.4 7.1,10.4 "
           "~4.2,10.4 4.2,7 ~4.2,3.6 7.1,3.6 ~9,3.6 9.6,5.2"},
    {0xAA, "5.2:&a,0.6,0,7.5;0.2,5.6 5,5.6"},
    {0xAB, "7:3.2,8.6 0.5,5 3.2,1.4;6.6,8.6 3.9,5 6.6,1.4"},
    {0xAC, "9.2:0.3,7.6 8.9,7.6 8.9,3.6"},
    {0xAD, "5:0.3,5.2 4.7,5.2"},
    {0xAE, "14:7,14 ~0.6,14 0.6,7 ~0.6,0 7,0 ~13.4,0 13.4,7 ~13.4,14 7,14;5,3.4 5,10.6 7.4,10.6 "
           "~9.5,10.6 9.5,8.8 ~9.5,7 7.4,7 5,7;7.2,7 9.5,3.4"},
    {0xAF, "4.4:0.2,12.8 4.2,12.8"},
    {0xB0, "5:2.5,14 ~0.4,14 0.4,11.8 ~0.4,9.6 2.5,9.6 ~4.6,9.6 4.6,11.8 ~4.6,14 2.5,14"},
    {0xB1, "9.2:4.6,12 4.6,4;0.3,8 8.9,8;0.3,1 8.9,1"},
    {0xB2, "5.2:&2,0.6,0,5.6"},
    {0xB3, "5.2:&3,0.6,0,5.6"},
    {0xB4, "3.5:0.6,12 3.2,14.4"},
    {0xB5, "8:0.5,10 0.5,-4;0.5,3.5 ~0.5,0 3.7,0 ~7,0 7.5,4;7.5,10 7.5,0"},
    {0xB6, "8:7.5,14 7.5,-3;4.8,-3 4.8,14;7.5,14 3.5,14 ~0.5,14 0.5,10.8 ~0.5,7.6 3.5,7.6 4.8,7.6"},
    {0xB7, "1.6:0.8,6.3 0.8,5.9"},
    {0xB8, "3:1.5,0 1.5,-1.2 ~3,-1.4 3,-2.7 ~3,-4 1.4,-4 0.3,-3.7"},
    {0xB9, "5.2:&1,0.6,0,5.6"},
    {0xBA, "5.2:&o,0.6,0,7.5;0.2,5.6 5,5.6"},
    {0xBB, "7:0.4,8.6 3.1,5 0.4,1.4;3.8,8.6 6.5,5 3.8,1.4"},
    {0xBC, "14:&1,0.55,0,6.3;&4,0.55,9,0;10.6,14 3.4,0"},
    {0xBD, "14:&1,0.55,0,6.3;&2,0.55,9,0;10.6,14 3.4,0"},
    {0xBE, "14:&3,0.55,0,6.3;&4,0.55,9,0;10.6,14 3.4,0"},
    {0xBF, "7.6:7,-0.8 ~6.7,-4 3.7,-4 ~0.5,-4 0.5,-1 ~0.5,0.8 2.2,2 ~3.8,3.1 3.8,5 3.8,6;"
           "3.8,9.7 3.8,9.3"},
    {0xC6, "15:0.3,0 6.6,14 14.4,14;7.6,14 7.6,0 14.7,0;2.4,4.6 7.6,4.6;7.6,7.4 13.6,7.4"},
    {0xD0, "12.4:1.5,0 1.5,14 5.8,14 ~11.8,14 11.8,7 ~11.8,0 5.8,0 1.5,0;0,7.2 6,7.2"},
    {0xD7, "9.2:1.4,9.7 7.8,3.3;7.8,9.7 1.4,3.3"},
    {0xD8, "13:&O,1,0,0;1.4,-0.6 11.6,14.6"},
    {0xDE, "10:0.7,14 0.7,0;0.7,11.2 5.4,11.2 ~9.6,11.2 9.6,7.2 ~9.6,3.2 5.4,3.2 0.7,3.2"},
    {0xDF, "8.4:0.5,0 0.5,10.5 ~0.5,14 3.8,14 ~7,14 7,11.2 ~7,9.4 5.6,8.4 ~4.2,7.4 4.2,6.6 ~4.2,5.8 "
           "5.8,4.8 ~7.9,3.6 7.9,2.3 ~7.9,0 5.4,0 ~3.9,0 3.2,1"},
    {0xE6, "13:&a,0.94,0,0;7,5.3 12.6,5.3 ~12.6,10 9.8,10 ~7,10 7,5 ~7,0 9.9,0 ~11.7,0 12.4,2.2"},
    {0xF0, "8.5:8,5 ~8,9 4.2,9 ~0.5,9 0.5,4.5 ~0.5,0 4.2,0 ~8,0 8,5.5 ~8,10.5 2.8,14;1.8,11 6.8,13.4"},
    {0xF7, "9.2:0.3,6.5 8.9,6.5;4.6,11 4.6,10.6;4.6,2.4 4.6,2"},
    {0xF8, "8.5:&o,1,0,0;0.6,-0.8 7.9,10.8"},
    {0xFE, "8.5:0.5,14 0.5,-4;0.5,5 ~0.5,10 4.5,10 ~8,10 8,5 ~8,0 4.5,0 ~0.5,0 0.5,5"},
    {0x110, "12.4:1.5,0 1.5,14 5.8,14 ~11.8,14 11.8,7 ~11.8,0 5.8,0 1.5,0;0,7.2 6,7.2"},
    {0x111, "9:&d,1,0,0;4.6,12 9.6,12"},
    {0x126, "11.4:&H,1,0,0;-0.8,10.6 12.2,10.6"},
    {0x127, "8:&h,1,0,0;-1,12 4,12"},
    {0x131, "1.4:0.7,10 0.7,0"},
    {0x141, "9:1.4,14 1.4,0 8.7,0;0,6 4.6,9.2"},
    {0x142, "3:1.5,14 1.5,0;0.1,6 2.9,8.4"},
    {0x152, "16:15.5,14 6.5,14 ~0.7,14 0.7,7 ~0.7,0 6.5,0 15.7,0;8.2,14 8.2,0;8.2,7.4 14.6,7.4"},
    {0x153, "14:3.9,10 ~0.5,10 0.5,5 ~0.5,0 3.9,0 ~7,0 7,5 ~7,10 3.9,10;7,5.3 13.5,5.3 ~13.5,10 "
            "10.3,10 ~7,10 7,5 ~7,0 10.4,0 ~12.6,0 13.3,2.2"},
    {0x2010, "5:0.3,5.2 4.7,5.2"},
    {0x2011, "5:0.3,5.2 4.7,5.2"},
    {0x2013, "8:0,5.2 8,5.2"},
    {0x2014, "16:0,5.2 16,5.2"},
    {0x2018, "1.8:1.3,14 ~0.5,12.6 0.5,11.4 0.5,11"},
    {0x2019, "1.8:1.2,14 1.2,13.4 ~1.2,12 0.4,10.8"},
    {0x201A, "1.8:1.1,0.6 1.1,0 ~1.1,-1.5 0.3,-2.8"},
    {0x201C, "4.6:1.3,14 ~0.5,12.6 0.5,11.4 0.5,11;4.2,14 ~3.4,12.6 3.4,11.4 3.4,11"},
    {0x201D, "4.6:1.2,14 1.2,13.4 ~1.2,12 0.4,10.8;4.1,14 4.1,13.4 ~4.1,12 3.3,10.8"},
    {0x201E, "4.6:1.1,0.6 1.1,0 ~1.1,-1.5 0.3,-2.8;4,0.6 4,0 ~4,-1.5 3.2,-2.8"},
    {0x2022, "4:2,7.4 ~0.8,7.4 0.8,6.2 ~0.8,5 2,5 ~3.2,5 3.2,6.2 ~3.2,7.4 2,7.4;2,6.6 2,5.8"},
    {0x2026, "12:0.8,0.7 0.8,0.3;6,0.7 6,0.3;11.2,0.7 11.2,0.3"},
    {0x202F, "1:"},
    {0x2030, "20:&%,1,0,0;17.4,6.8 ~15.4,6.8 15.4,3.4 ~15.4,0 17.4,0 ~19.4,0 19.4,3.4 ~19.4,6.8 "
             "17.4,6.8"},
    {0x2039, "3.6:3.2,8.6 0.5,5 3.2,1.4"},
    {0x203A, "3.6:0.4,8.6 3.1,5 0.4,1.4"},
    {0x20AC, "9.4:8.9,12.2 ~7.8,14 5.8,14 ~1.8,14 1.8,7 ~1.8,0 5.8,0 ~7.8,0 8.9,1.8;0.2,8.4 7,8.4;"
             "0.2,5.6 6.4,5.6"},
    {0x2122, "13:0.2,14 5.4,14;2.8,14 2.8,7.6;7,7.6 7,14 9.8,9 12.6,14 12.6,7.6"},
    {0x2190, "12:11.5,6 0.6,6;4.2,9.4 0.6,6 4.2,2.6"},
    {0x2192, "12:0.5,6 11.4,6;7.8,9.4 11.4,6 7.8,2.6"},
    {0x2212, "8.6:0.5,6.5 8.1,6.5"},
    {0x2248, "9.4:&~,1,0,2;&~,1,0,-2"},
    {0x2264, "9.2:8.4,12 0.8,8 8.4,4;0.8,1 8.4,1"},
    {0x2265, "9.2:0.8,12 8.4,8 0.8,4;0.8,1 8.4,1"},
};

typedef enum {
    GRAVE, ACUTE, CIRCUMFLEX, TILDE, DIAERESIS, RING, CEDILLA, CARON, BREVE, MACRON, DOT, DOUBLE_ACUTE,
    OGONEK, ACCENTS
} accent;

/* Drawn around the middle of a small letter; marks above rise with capitals. */
static const char *const ACCENT_GLYPHS[ACCENTS] = {
    [GRAVE] = "0:-1.8,14.2 0.7,11.8",
    [ACUTE] = "0:1.8,14.2 -0.7,11.8",
    [CIRCUMFLEX] = "0:-2.3,11.8 0,14.2 2.3,11.8",
    [TILDE] = "0:-2.6,12 ~-2.3,13.6 -1.1,13.6 ~-0.3,13.6 0,12.9 ~0.4,12.2 1.1,12.2 ~2.3,12.2 2.6,13.8",
    [DIAERESIS] = "0:-1.7,13.3 -1.7,12.9;1.7,13.3 1.7,12.9",
    [RING] = "0:0,14.9 ~-1.6,14.9 -1.6,13.2 ~-1.6,11.5 0,11.5 ~1.6,11.5 1.6,13.2 ~1.6,14.9 0,14.9",
    [CEDILLA] = "0:0,0 0,-1.2 ~1.5,-1.4 1.5,-2.7 ~1.5,-4 0,-4 -1.2,-3.7",
    [CARON] = "0:-2.3,14.2 0,11.8 2.3,14.2",
    [BREVE] = "0:-2.3,14 ~-2.1,11.8 0,11.8 ~2.1,11.8 2.3,14",
    [MACRON] = "0:-2.2,12.8 2.2,12.8",
    [DOT] = "0:0,13.3 0,12.9",
    [DOUBLE_ACUTE] = "0:-0.4,14.2 -2.3,11.8;2.7,14.2 0.8,11.8",
    [OGONEK] = "0:1.6,0 ~0.4,-1.2 0.4,-2.5 ~0.4,-4 2.6,-3.8",
};

typedef struct {
    uint32_t code;
    char letter;
    unsigned char accent;
} accented;

static const accented ACCENTED[] = {
    {0xC0, 'A', GRAVE}, {0xC1, 'A', ACUTE}, {0xC2, 'A', CIRCUMFLEX}, {0xC3, 'A', TILDE},
    {0xC4, 'A', DIAERESIS}, {0xC5, 'A', RING}, {0xC7, 'C', CEDILLA}, {0xC8, 'E', GRAVE},
    {0xC9, 'E', ACUTE}, {0xCA, 'E', CIRCUMFLEX}, {0xCB, 'E', DIAERESIS}, {0xCC, 'I', GRAVE},
    {0xCD, 'I', ACUTE}, {0xCE, 'I', CIRCUMFLEX}, {0xCF, 'I', DIAERESIS}, {0xD1, 'N', TILDE},
    {0xD2, 'O', GRAVE}, {0xD3, 'O', ACUTE}, {0xD4, 'O', CIRCUMFLEX}, {0xD5, 'O', TILDE},
    {0xD6, 'O', DIAERESIS}, {0xD9, 'U', GRAVE}, {0xDA, 'U', ACUTE}, {0xDB, 'U', CIRCUMFLEX},
    {0xDC, 'U', DIAERESIS}, {0xDD, 'Y', ACUTE}, {0xE0, 'a', GRAVE}, {0xE1, 'a', ACUTE},
    {0xE2, 'a', CIRCUMFLEX}, {0xE3, 'a', TILDE}, {0xE4, 'a', DIAERESIS}, {0xE5, 'a', RING},
    {0xE7, 'c', CEDILLA}, {0xE8, 'e', GRAVE}, {0xE9, 'e', ACUTE}, {0xEA, 'e', CIRCUMFLEX},
    {0xEB, 'e', DIAERESIS}, {0xEC, 'i', GRAVE}, {0xED, 'i', ACUTE}, {0xEE, 'i', CIRCUMFLEX},
    {0xEF, 'i', DIAERESIS}, {0xF1, 'n', TILDE}, {0xF2, 'o', GRAVE}, {0xF3, 'o', ACUTE},
    {0xF4, 'o', CIRCUMFLEX}, {0xF5, 'o', TILDE}, {0xF6, 'o', DIAERESIS}, {0xF9, 'u', GRAVE},
    {0xFA, 'u', ACUTE}, {0xFB, 'u', CIRCUMFLEX}, {0xFC, 'u', DIAERESIS}, {0xFD, 'y', ACUTE},
    {0xFF, 'y', DIAERESIS}, {0x100, 'A', MACRON}, {0x101, 'a', MACRON}, {0x102, 'A', BREVE},
    {0x103, 'a', BREVE}, {0x104, 'A', OGONEK}, {0x105, 'a', OGONEK}, {0x106, 'C', ACUTE},
    {0x107, 'c', ACUTE}, {0x108, 'C', CIRCUMFLEX}, {0x109, 'c', CIRCUMFLEX}, {0x10A, 'C', DOT},
    {0x10B, 'c', DOT}, {0x10C, 'C', CARON}, {0x10D, 'c', CARON}, {0x10E, 'D', CARON},
    {0x112, 'E', MACRON}, {0x113, 'e', MACRON}, {0x114, 'E', BREVE}, {0x115, 'e', BREVE},
    {0x116, 'E', DOT}, {0x117, 'e', DOT}, {0x118, 'E', OGONEK}, {0x119, 'e', OGONEK},
    {0x11A, 'E', CARON}, {0x11B, 'e', CARON}, {0x11C, 'G', CIRCUMFLEX}, {0x11D, 'g', CIRCUMFLEX},
    {0x11E, 'G', BREVE}, {0x11F, 'g', BREVE}, {0x120, 'G', DOT}, {0x121, 'g', DOT},
    {0x122, 'G', CEDILLA}, {0x124, 'H', CIRCUMFLEX}, {0x128, 'I', TILDE}, {0x129, 'i', TILDE},
    {0x12A, 'I', MACRON}, {0x12B, 'i', MACRON}, {0x12E, 'I', OGONEK}, {0x12F, 'i', OGONEK},
    {0x130, 'I', DOT}, {0x134, 'J', CIRCUMFLEX}, {0x136, 'K', CEDILLA}, {0x137, 'k', CEDILLA},
    {0x139, 'L', ACUTE}, {0x13B, 'L', CEDILLA}, {0x13C, 'l', CEDILLA}, {0x143, 'N', ACUTE},
    {0x144, 'n', ACUTE}, {0x145, 'N', CEDILLA}, {0x146, 'n', CEDILLA}, {0x147, 'N', CARON},
    {0x148, 'n', CARON}, {0x14C, 'O', MACRON}, {0x14D, 'o', MACRON}, {0x150, 'O', DOUBLE_ACUTE},
    {0x151, 'o', DOUBLE_ACUTE}, {0x154, 'R', ACUTE}, {0x155, 'r', ACUTE}, {0x156, 'R', CEDILLA},
    {0x157, 'r', CEDILLA}, {0x158, 'R', CARON}, {0x159, 'r', CARON}, {0x15A, 'S', ACUTE},
    {0x15B, 's', ACUTE}, {0x15C, 'S', CIRCUMFLEX}, {0x15D, 's', CIRCUMFLEX}, {0x15E, 'S', CEDILLA},
    {0x15F, 's', CEDILLA}, {0x160, 'S', CARON}, {0x161, 's', CARON}, {0x162, 'T', CEDILLA},
    {0x163, 't', CEDILLA}, {0x164, 'T', CARON}, {0x168, 'U', TILDE}, {0x169, 'u', TILDE},
    {0x16A, 'U', MACRON}, {0x16B, 'u', MACRON}, {0x16C, 'U', BREVE}, {0x16D, 'u', BREVE},
    {0x16E, 'U', RING}, {0x16F, 'u', RING}, {0x170, 'U', DOUBLE_ACUTE}, {0x171, 'u', DOUBLE_ACUTE},
    {0x172, 'U', OGONEK}, {0x173, 'u', OGONEK}, {0x174, 'W', CIRCUMFLEX}, {0x175, 'w', CIRCUMFLEX},
    {0x176, 'Y', CIRCUMFLEX}, {0x177, 'y', CIRCUMFLEX}, {0x178, 'Y', DIAERESIS}, {0x179, 'Z', ACUTE},
    {0x17A, 'z', ACUTE}, {0x17B, 'Z', DOT}, {0x17C, 'z', DOT}, {0x17D, 'Z', CARON},
    {0x17E, 'z', CARON}, {0x218, 'S', CEDILLA}, {0x219, 's', CEDILLA}, {0x21A, 'T', CEDILLA},
    {0x21B, 't', CEDILLA},
};

static const char BOX_GLYPH[] = "9:0.6,13.4 8.4,13.4 8.4,0 0.6,0 0.6,13.4";
static const char WIDE_BOX_GLYPH[] = "17:0.6,13.4 16.4,13.4 16.4,0 0.6,0 0.6,13.4";

uint32_t next_code(const char **at, const char *end) {
    size_t length = utf8_length(*at, (size_t)(end - *at));
    uint32_t code = length ? utf8_code(*at, length) : 0xFFFD;
    *at += length ? length : 1;
    return code;
}

/* Marks that combine with the letter before, joiners and direction marks: nothing is drawn. */
static bool takes_no_space(uint32_t code) {
    return (code >= 0x300 && code < 0x370) || (code >= 0x200B && code <= 0x200F) ||
           (code >= 0x202A && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
           (code >= 0xFE00 && code <= 0xFE0F) || (code >= 0x1F3FB && code <= 0x1F3FF) ||
           code == 0xFEFF;
}

/* Characters as wide as they are high: ideographs, syllables, pictures. */
static bool takes_an_em(uint32_t code) {
    return (code >= 0x1100 && code < 0x1160) || (code >= 0x2E80 && code < 0xA4D0) ||
           (code >= 0xAC00 && code < 0xD7A4) || (code >= 0xF900 && code < 0xFB00) ||
           (code >= 0xFF00 && code < 0xFF61) || (code >= 0x1F000 && code < 0x20000) ||
           (code >= 0x20000 && code < 0x40000);
}

static const accented *accented_of(uint32_t code) {
    for (size_t i = 0; i < sizeof ACCENTED / sizeof *ACCENTED; i++)
        if (ACCENTED[i].code == code) return &ACCENTED[i];
    return NULL;
}

static const char *glyph_of(uint32_t code) {
    if (code >= FIRST_GLYPH && code <= LAST_GLYPH) return ASCII_GLYPHS[code - FIRST_GLYPH];
    for (size_t i = 0; i < sizeof OTHER_GLYPHS / sizeof *OTHER_GLYPHS; i++)
        if (OTHER_GLYPHS[i].code == code) return OTHER_GLYPHS[i].glyph;
    return takes_an_em(code) ? WIDE_BOX_GLYPH : BOX_GLYPH;
}

static double glyph_number(const char **at) {
    const char *p = *at;
    bool negative = *p == '-';
    p += negative;
    double value = 0, unit = 1;
    for (; *p >= '0' && *p <= '9'; p++) value = value * 10 + (*p - '0');
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++) value += (*p - '0') * (unit /= 10);
    *at = p;
    return negative ? -value : value;
}

static double glyph_width(const char *glyph) { return glyph_number(&glyph); }

static double code_width(uint32_t code) {
    if (takes_no_space(code)) return 0;
    const accented *both = accented_of(code);
    return glyph_width(both ? glyph_of((unsigned char)both->letter) : glyph_of(code)) + 2 * SIDE;
}

double text_width(slice text, double size) {
    double width = 0;
    for (const char *at = text.text, *end = at + text.length; at < end;)
        width += code_width(next_code(&at, end));
    return width * size / EM;
}

/* Where the next stroke begins, and how glyphs are turned into pixels. */
typedef struct {
    double x, y, scale, cosine, sine, radius;
    stroke_function *stroke;
} pen;

static point pen_point(const pen *p, double x, double y) {
    double u = x * p->scale, v = -y * p->scale;
    return (point){p->x + u * p->cosine - v * p->sine, p->y + u * p->sine + v * p->cosine};
}

static pen pen_moved(const pen *p, double x, double y) {
    pen moved = *p;
    point to = pen_point(p, x, y);
    moved.x = to.x;
    moved.y = to.y;
    return moved;
}

static void pen_line(const pen *p, point *from, point to) {
    p->stroke(*from, to, p->radius);
    *from = to;
}

static void pen_curve(const pen *p, point *from, point bend, point to) {
    point start = *from;
    for (int i = 1; i <= CURVE_STEPS; i++) {
        double t = (double)i / CURVE_STEPS, s = 1 - t;
        point next = {s * s * start.x + 2 * s * t * bend.x + t * t * to.x,
                      s * s * start.y + 2 * s * t * bend.y + t * t * to.y};
        pen_line(p, from, next);
    }
}

static void draw_glyph(const pen *p, const char *at);

/* "&c,scale,dx,dy" */
static const char *draw_reference(const pen *p, const char *at) {
    unsigned char code = (unsigned char)at[1];
    at += 3;
    double numbers[3];
    for (int i = 0; i < 3; i++) {
        numbers[i] = glyph_number(&at);
        at += *at == ',';
    }
    pen part = pen_moved(p, numbers[1], numbers[2]);
    part.scale *= numbers[0];
    draw_glyph(&part, glyph_of(code));
    return at;
}

static void draw_glyph(const pen *p, const char *at) {
    glyph_number(&at);
    at++;
    point here = {0, 0}, bend = {0, 0};
    bool begun = false, bending = false;
    while (*at) {
        if (*at == ';') begun = bending = false;
        if (*at == ';' || *at == ' ') at++;
        if (*at == '&') {
            at = draw_reference(p, at);
            continue;
        }
        bool off = *at == '~';
        at += off;
        double x = glyph_number(&at);
        at++;
        point next = pen_point(p, x, glyph_number(&at));
        if (off) {
            point middle = {(bend.x + next.x) / 2, (bend.y + next.y) / 2};
            if (bending) pen_curve(p, &here, bend, middle);
            bend = next;
        } else if (bending) {
            pen_curve(p, &here, bend, next);
        } else if (begun) {
            pen_line(p, &here, next);
        } else {
            here = next;
        }
        begun = true;
        bending = off;
    }
}

static void draw_code(const pen *p, uint32_t code) {
    const accented *both = accented_of(code);
    if (!both) {
        draw_glyph(p, glyph_of(code));
        return;
    }
    bool above = both->accent != CEDILLA && both->accent != OGONEK;
    const char *letter = glyph_of(both->letter == 'i' && above ? 0x131 : (uint32_t)both->letter);
    bool tall = both->letter < 'a' || both->letter == 'k' || both->letter == 'l';
    draw_glyph(p, letter);
    pen mark = pen_moved(p, glyph_width(letter) / 2, above && tall ? 3.6 : 0);
    draw_glyph(&mark, ACCENT_GLYPHS[both->accent]);
}

void stroke_text(point at, slice text, double size, double turn, double radius,
                 stroke_function *stroke) {
    pen p = {at.x, at.y, size / EM, cos(turn), sin(turn), radius, stroke};
    for (const char *next = text.text, *end = next + text.length; next < end;) {
        uint32_t code = next_code(&next, end);
        if (takes_no_space(code)) continue;
        pen shifted = pen_moved(&p, SIDE, 0);
        draw_code(&shifted, code);
        p = pen_moved(&p, code_width(code), 0);
    }
}
