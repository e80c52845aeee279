package smtpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// sink takes mail on one connection as fast as it can.
func sink(nc net.Conn, cert *tls.Certificate) {
	if cert != nil {
		nc = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	defer nc.Close()
	br, bw := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriter(nc)
	bw.WriteString("220 sink\r\n")
	for {
		if br.Buffered() == 0 && bw.Flush() != nil {
			return
		}
		line, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		switch line[0] {
		case 'E':
			bw.WriteString("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n")
		case 'D':
			bw.WriteString("354 go\r\n")
			bw.Flush()
			for {
				line, err := br.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if bytes.Equal(line, []byte(".\r\n")) {
					break
				}
			}
			bw.WriteString("250 2.0.0 taken\r\n")
		default:
			bw.WriteString("250 2.1.0 ok\r\n")
		}
	}
}

// BenchmarkSend is one message after the other on one connection.
func BenchmarkSend(b *testing.B) {
	t := &testing.T{}
	cert := selfSigned(t, "mx", time.Now().Add(time.Hour))
	for _, secure := range []bool{false, true} {
		for _, size := range []int{4 << 10, 100 << 10} {
			b.Run(fmt.Sprintf("size=%d/tls=%v", size, secure), func(b *testing.B) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				go func() {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					if secure {
						sink(nc, &cert)
					} else {
						sink(nc, nil)
					}
				}()
				addr := l.Addr().(*net.TCPAddr).AddrPort()
				connect := testConfig.Connect
				if secure {
					connect = func(ctx context.Context, host string, a netip.AddrPort) (*Conn, error) {
						return testConfig.ConnectTLS(ctx, host, a, nil)
					}
				}
				c, err := connect(context.Background(), "mx", addr)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				body := strings.Repeat(strings.Repeat("x", 74)+"\r\n", size/76)
				tx := Transaction{From: "b@office.example", Rcpts: rcpts("a@good.example"), Size: int64(len(body))}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if res, err := c.Send(ctx, tx, strings.NewReader(body)); err != nil || res[0].Err != nil {
						b.Fatal(res, err)
					}
				}
			})
		}
	}
}

// BenchmarkStuff is the work on the bytes alone.
func BenchmarkStuff(b *testing.B) {
	for _, dots := range []bool{false, true} {
		b.Run(fmt.Sprintf("dots=%v", dots), func(b *testing.B) {
			line := strings.Repeat("x", 74) + "\r\n"
			if dots {
				line = "." + line[1:]
			}
			body := strings.NewReader(strings.Repeat(line, 1300))
			buf := make([]byte, largeBuffer)
			b.SetBytes(body.Size())
			b.ReportAllocs()
			for b.Loop() {
				_, _ = body.Seek(0, io.SeekStart)
				if err := copyBody(io.Discard, body, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
