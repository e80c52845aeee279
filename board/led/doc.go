// Package led decides what the lights show.
//
// A Machine is pure: conditions and a time go in, the level of each light
// comes out, with the time of the next change. A Player drives outputs by it
// until its context ends, and leaves them dark then.
//
// The legend, from left to right, is STATUS, NETWORK, MAIL and ALERT; a board
// with two lights has STATUS and ALERT, one with a single light has STATUS.
// Position and rhythm carry the meaning, never colour. No light ever flashes
// more than three times in any second.
//
// The package measures nothing and knows no hardware (board/gpio does).
package led
