package boot

import (
	"context"
	"encoding/json"
	"net"
	"testing"
)

// Restart is no crash: the role says goodbye, gets a new payload, and is up
// again without a pause.
func TestSupervisorRestartsOnRequest(t *testing.T) {
	f := newFixture(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	defer file.Close()
	greetings := make(chan string, 2)
	greetings <- "a"
	greetings <- "bb"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, Role{
			Name: "relay", Args: []string{"gatepost"}, Listeners: []Handed{{Name: "smtp", File: file}},
			Payload: func() ([]byte, error) { return json.Marshal(order{Greeting: <-greetings, Do: "serve"}) },
		})
	}()
	// The first line of a role comes before it listens for the signal: the
	// greeting over the wire comes after.
	f.until(t, "the role", f.said("relay: hello 1"))
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	f.Restart("relay")
	f.until(t, "the goodbye", f.said("relay: bye"))
	f.until(t, "the new payload", f.said("relay: hello 2"))
	if st := f.States()[0]; len(f.crashes) != 0 || st.Restarts != 0 || st.LastExit != "" {
		t.Errorf("got crashes %q and %+v, want none", f.crashes, st)
	}
	cancel()
	<-done
}
