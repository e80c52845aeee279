package certs

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"strings"

	"golang.org/x/crypto/argon2"
)

// wordList holds 512 short English words, one on each line, chosen to be easy to
// read aloud and to tell apart.
//
//go:embed wordlist.txt
var wordList string

// bitsPerWord: four words carry 36 bits.
const bitsPerWord = 9

// fourWords turns a fingerprint into words. Thirty-six bits alone could be met
// by trying keys for some minutes; each try is therefore made to cost an argon2id
// with 8 MiB and two passes, which makes it years for one machine. Who wants
// certainty compares the whole fingerprint.
func fourWords(sum [sha256.Size]byte) string {
	bits := binary.BigEndian.Uint64(argon2.IDKey(sum[:], []byte("gatepost certificate words"), 2, 8*1024, 1, 8))
	list := strings.Fields(wordList)
	words := make([]string, 4)
	for i := range words {
		words[i] = list[bits>>(64-bitsPerWord*(i+1))&(1<<bitsPerWord-1)]
	}
	return strings.Join(words, "-")
}
