// Package gpt reads the partition table of a disk (GPT, UEFI specification
// 5.3) and enlarges its last partition when the disk is larger than the table
// knows, as after an image was written to a card.
//
// It is strict: a table that differs in any way from what it writes itself is
// refused, and it is for the caller to say whose table it is. At every moment
// of a change the primary table on the disk is whole and right, either the old
// one or the new one, because Linux looks at no other. It opens no device and
// tells the kernel nothing.
package gpt
