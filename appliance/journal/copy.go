package journal

import (
	"bufio"
	"errors"
	"io"
)

// Copy says every line of r under the given source until r ends. A line longer
// than MaxLine is cut and its rest skipped; nothing that is written to r can
// make memory grow.
func (j *Journal) Copy(source string, r io.Reader) error {
	br := bufio.NewReaderSize(r, MaxLine+16)
	for {
		line, err := br.ReadSlice('\n')
		text := string(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n') // skip what does not fit
		}
		for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
			text = text[:len(text)-1]
		}
		if text != "" {
			j.Say(source, text)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
