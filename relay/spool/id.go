package spool

// idAlphabet is Crockford's base 32 in lower case: sorted as in ASCII, without
// i, l, o and u.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// idLength digits of 5 bits hold 55 bits: microseconds since 1970 for the next
// thousand years.
const idLength = 11

const maxNumber = 1<<(5*idLength) - 1

// formatID returns the ID of a message number up to maxNumber.
func formatID(n uint64) ID {
	var b [idLength]byte
	for i := idLength - 1; i >= 0; i-- {
		b[i] = idAlphabet[n&31]
		n >>= 5
	}
	return string(b[:])
}

// parseID is the inverse of formatID; ok is false for anything that formatID
// does not return.
func parseID(id ID) (n uint64, ok bool) {
	if len(id) != idLength {
		return 0, false
	}
	for i := range len(id) {
		v := digit(id[i])
		if v < 0 {
			return 0, false
		}
		n = n<<5 | uint64(v)
	}
	return n, true
}

func digit(c byte) int {
	for i := range len(idAlphabet) {
		if idAlphabet[i] == c {
			return i
		}
	}
	return -1
}
