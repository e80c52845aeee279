package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkAccept is the accept path without a disk: clients that open a
// connection for each message, wait for each reply and do not pipeline, as
// Postfix's smtp-source does.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, clients := range []int{1, 50} {
			b.Run(fmt.Sprintf("clients=%d/size=%d", clients, size), func(b *testing.B) {
				f := start(b, func(c *Config) { c.Accept = acceptInto })
				body := []byte(strings.ReplaceAll(text(size), "\r\n.", "\r\n..") + ".\r\n")
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				var left atomic.Int64
				left.Store(int64(b.N))
				done := make(chan error, clients)
				b.ResetTimer()
				for range clients {
					go func() {
						br := bufio.NewReader(nil)
						for left.Add(-1) >= 0 {
							if err := sendOne(f.trusted, br, body); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range clients {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
}

// acceptInto reads a message in large pieces, as a spool does.
func acceptInto(_ context.Context, _ Envelope, r io.Reader) (string, error) {
	p := make([]byte, 16<<10)
	for {
		if _, err := r.Read(p); err == io.EOF {
			return "id", nil
		} else if err != nil {
			return "", err
		}
	}
}

func sendOne(addr string, br *bufio.Reader, body []byte) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	br.Reset(nc)
	for _, cmd := range []string{"", "EHLO client.example\r\n", "MAIL FROM:<bob@office.example>\r\n", "RCPT TO:<anna@good.example>\r\n", "DATA\r\n", ".", "QUIT\r\n"} {
		switch cmd {
		case "":
		case ".":
			_, err = nc.Write(body)
		default:
			_, err = io.WriteString(nc, cmd)
		}
		for more := err == nil; more; {
			var line []byte
			if line, err = br.ReadSlice('\n'); err != nil {
				return err
			}
			if line[0] > '3' {
				return fmt.Errorf("%q: %s", cmd, line)
			}
			more = line[3] == '-'
		}
	}
	return err
}
