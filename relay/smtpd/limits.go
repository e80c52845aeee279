package smtpd

import (
	"cmp"
	"time"
)

// Limits bound what a client can use up. Zero fields mean the defaults. A
// source is one IPv4 address or one IPv6 /64, since a single IPv6 address costs
// nothing; a network is an IPv4 /24 or an IPv6 /48.
type Limits struct {
	// Conns is how many connections may be open in all; 0 means 500. Clients from
	// outside of the trusted networks have half of them on Trusted listeners and a
	// quarter on Submission listeners.
	Conns        int
	ConnsPerAddr int // open connections from one source; 0 means 100
	// RatePerMinute is how many connections one source may open in a minute; 0
	// means no limit.
	RatePerMinute int
	// MessagesPerMinute is how many messages (MAIL commands) one source may begin
	// in a minute; 0 means no limit.
	MessagesPerMinute int
	Strangers         StrangerLimits // further limits for clients outside of the trusted networks
	Errors            int            // refused commands in one session before it ends; 0 means 20
	// Read is the wait for a whole command, and for each piece of a message; 0
	// means 5 minutes (RFC 5321, Section 4.5.3.2.7).
	Read    time.Duration
	Write   time.Duration // wait for each piece of output, at most as long as for input; 0 means 5 minutes
	Session time.Duration // life of a connection; 0 means 4 hours
	// BodyRate is the least that a message may come in with, in bytes a second on
	// average after the first Read; 0 means 100. It is what ends a client that
	// sends one byte now and then.
	BodyRate int
	// GreetDelay is the pause before the greeting in which a client that talks
	// already is caught; 0 means that only input which is there at once counts.
	GreetDelay time.Duration
	Stop       time.Duration // how long messages in transfer may go on after the end of ctx; 0 means 30 seconds
	AuthDelay  time.Duration // pause after the first failed login, doubled with each one; 0 means 1 second
}

// StrangerLimits hold for clients outside of the trusted networks, beside the
// other limits. Zero fields mean the defaults, negative ones no limit.
type StrangerLimits struct {
	ConnsPerAddr      int // open connections from one source; 0 means 20
	ConnsPerNet       int // open connections from one network; 0 means 50
	RatePerMinute     int // connections that one source may open in a minute; 0 means 60
	RatePerNet        int // connections that one network may open in a minute; 0 means 240
	MessagesPerMinute int // messages that one source may begin in a minute; 0 means 120
	MessagesPerNet    int // messages that one network may begin in a minute; 0 means 480
	// Squeeze takes the place of Read while three quarters of the strangers' places
	// on that kind of port are taken, and BodyRate is ten times as high then; 0 means
	// 30 seconds.
	Squeeze time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Conns = cmp.Or(l.Conns, 500)
	l.ConnsPerAddr = cmp.Or(l.ConnsPerAddr, 100)
	l.Errors = cmp.Or(l.Errors, 20)
	l.Read = cmp.Or(l.Read, 5*time.Minute)
	l.Write = cmp.Or(l.Write, 5*time.Minute)
	l.Session = cmp.Or(l.Session, 4*time.Hour)
	l.BodyRate = cmp.Or(l.BodyRate, 100)
	l.Stop = cmp.Or(l.Stop, 30*time.Second)
	l.AuthDelay = cmp.Or(l.AuthDelay, time.Second)
	s := &l.Strangers
	s.ConnsPerAddr = cmp.Or(s.ConnsPerAddr, 20)
	s.ConnsPerNet = cmp.Or(s.ConnsPerNet, 50)
	s.RatePerMinute = cmp.Or(s.RatePerMinute, 60)
	s.RatePerNet = cmp.Or(s.RatePerNet, 240)
	s.MessagesPerMinute = cmp.Or(s.MessagesPerMinute, 120)
	s.MessagesPerNet = cmp.Or(s.MessagesPerNet, 480)
	s.Squeeze = min(cmp.Or(s.Squeeze, 30*time.Second), l.Read)
	return l
}
