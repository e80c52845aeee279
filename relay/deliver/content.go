package deliver

import (
	"bytes"
	"io"

	"gatepost/relay/smtpc"
)

// content is what the bytes of a message need of a server.
type content struct {
	smtpc.Content
	// text is the message, nil when it is too large to be kept at hand.
	text []byte
}

// maxAtHand is the size of a message up to which it is read once and kept, in
// bytes.
const maxAtHand = 256 << 10

// body opens the message.
func (a *attempt) body() (io.ReadCloser, error) {
	if a.text != nil && a.text.text != nil {
		return io.NopCloser(bytes.NewReader(a.text.text)), nil
	}
	return a.m.Body()
}

// needs reports which extensions the message must be sent with. The sender's
// word is taken where it makes no difference; otherwise the message is read:
// many senders declare 8BITMIME or SMTPUTF8 for plain ASCII, which a server
// without them can take, and some send 8-bit bytes without a word.
//
// A message that came with SMTPUTF8 and whose addresses and header are ASCII is
// an ordinary one (RFC 6531, Section 3.2 needs the parameter only where there is
// something to say with it).
func (a *attempt) needs(ext smtpc.Extensions) (eightBit, utf8 bool, err error) {
	e := &a.m.Envelope
	utf8 = e.SMTPUTF8
	if e.EightBit == ext.EightBitMIME && (!utf8 || ext.SMTPUTF8) {
		return e.EightBit, utf8, nil
	}
	if a.text == nil {
		if a.text, err = a.read(); err != nil {
			return false, false, err
		}
	}
	if utf8 && !ext.SMTPUTF8 {
		utf8 = a.text.HeaderUTF8 // smtpc looks at the addresses
	}
	return a.text.EightBit, utf8, nil
}

// read finds out what the bytes of the message need.
func (a *attempt) read() (*content, error) {
	body, err := a.m.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var c content
	in := io.Reader(body)
	if size := a.m.Envelope.Size; size > 0 && size <= maxAtHand {
		// One byte more shows that the size is right.
		text := make([]byte, 0, size+1)
		for err == nil && len(text) < cap(text) {
			var n int
			n, err = body.Read(text[len(text):cap(text)])
			text = text[:len(text)+n]
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF {
			c.text = text
		}
		in = io.MultiReader(bytes.NewReader(text), body)
	}
	c.Content, err = smtpc.Inspect(in)
	return &c, err
}
