package lab

import "net"

// Wrap puts the tap on a client's connection.
func (f *FlowTap) Wrap(c net.Conn) net.Conn { return &tapConn{Conn: c, flow: f} }

type tapConn struct {
	net.Conn
	flow *FlowTap
}

func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.flow.Received(b[:n])
	}
	return n, err
}

// Write shows the bytes to the tap before they are sent, so that whoever has
// received them finds them in the tap.
func (c *tapConn) Write(b []byte) (int, error) {
	c.flow.Sent(b)
	return c.Conn.Write(b)
}

// CloseWrite half closes the connection where that is possible.
func (c *tapConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// SetLinger passes on to the connection where that is possible.
func (c *tapConn) SetLinger(sec int) error {
	if h, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return h.SetLinger(sec)
	}
	return nil
}

// Close ends the flow.
func (c *tapConn) Close() error {
	c.flow.End()
	return c.Conn.Close()
}
