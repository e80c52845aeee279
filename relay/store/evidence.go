package store

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"

	"gatepost/relay/verdict"
)

// maxEvidence bounds what unpack makes of one value, in bytes of JSON.
const maxEvidence = 4 << 20

// packer turns evidence into bytes: JSON, compressed, because certificates'
// names repeat.
type packer struct {
	w   *flate.Writer
	buf bytes.Buffer
}

// pack returns a value that is valid as long as anybody wants it.
func (p *packer) pack(e *verdict.Evidence) ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	p.buf.Reset()
	if p.w == nil {
		if p.w, err = flate.NewWriter(&p.buf, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	p.w.Reset(&p.buf)
	if _, err := p.w.Write(text); err != nil {
		return nil, err
	}
	if err := p.w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(p.buf.Bytes()), nil
}

// unpack is the inverse of pack.
func unpack(value []byte) (*verdict.Evidence, error) {
	r := flate.NewReader(bytes.NewReader(value))
	text, err := io.ReadAll(io.LimitReader(r, maxEvidence+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxEvidence {
		return nil, fmt.Errorf("more than %d bytes", maxEvidence)
	}
	e := new(verdict.Evidence)
	return e, json.Unmarshal(text, e)
}
