package appliance

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/relay"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpd"
)

// What the settings say reaches the mail machine, the way from PID 1 to its role
// included.
func TestRelayConfig(t *testing.T) {
	c, err := config.Parse("config.toml", []byte(`version = 1
hostname = "gatepost.office.example"
[relay]
delay_notice = "2h"
rate_per_minute = 30
bind = ["192.168.1.30"]
[network]
dns = ["192.168.1.1"]
[[inbound]]
domain = "office.example"
server = "192.168.1.5"
tls_rule = "watch"
[[inbound]]
domain = "list.example"
server = "mail.lan:2525"
tls = "verify"
certificate_name = "mail.office.example"
user = "gatepost"
password = "kettle"
recipients = ["anna", "info@list.example"]
tls_rule = "required"
report_addresses = ["tls"]
final = true
[[inbound]]
domain = "any.example"
server = "[fd00::5]"
recipients = "any"
[smart_host]
server = "smtp.provider.example"
implicit_tls = true
user = "office"
password = "blue"
`))
	if err != nil {
		t.Fatal(err)
	}
	wire, err := json.Marshal(handover{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	var h handover
	if err := json.Unmarshal(wire, &h); err != nil {
		t.Fatal(err)
	}
	box := &latestBox{}
	box.set(control.Box{Network: control.Network{
		State: control.NetworkUp, DNS: []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.1.1")},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.30/24")},
	}})
	got := relayConfig(RoleInput{Config: h.Config, ConfigUse: string(health.ConfigFile)}, box)
	wantInside := map[string]relay.Inside{
		"office.example": {Hop: nexthop.Hop{Host: "192.168.1.5", Port: 25, TLS: nexthop.TLSTry}, Ask: true, TLS: smtpd.TLSWatch},
		"list.example": {
			Hop: nexthop.Hop{
				Host: "mail.lan", Port: 2525, TLS: nexthop.TLSVerify, Name: "mail.office.example",
				User: "gatepost", Password: "kettle", Final: true,
			},
			Recipients: []string{"anna", "info"}, TLS: smtpd.TLSRequired, Reports: []string{"tls"},
		},
		"any.example": {Hop: nexthop.Hop{Host: "fd00::5", Port: 25, TLS: nexthop.TLSTry}, TLS: smtpd.TLSOff},
	}
	if !reflect.DeepEqual(got.Inside, wantInside) {
		t.Errorf("inside: got %+v\nwant %+v", got.Inside, wantInside)
	}
	if want := (nexthop.Hop{Host: "smtp.provider.example", Port: 465, TLS: nexthop.TLSVerify, Implicit: true, User: "office", Password: "blue"}); got.SmartHost == nil || !reflect.DeepEqual(*got.SmartHost, want) {
		t.Errorf("smart host: got %+v, want %+v", got.SmartHost, want)
	}
	if got.DelayNotice != 2*time.Hour || got.RatePerMinute != 30 || got.Bind4 != netip.MustParseAddr("192.168.1.30") || got.Bind6.IsValid() {
		t.Errorf("got delay %v, rate %d, bind %v %v", got.DelayNotice, got.RatePerMinute, got.Bind4, got.Bind6)
	}
	if s := fmt.Sprint(got.NameServers()); s != "[192.168.1.1:53 192.168.1.2:53]" {
		t.Errorf("name servers: got %s", s)
	}
	if !got.Own(netip.MustParseAddr("192.168.1.30")) || got.Own(netip.MustParseAddr("192.168.1.5")) {
		t.Error("our own addresses are not known")
	}
	if got.Ready() {
		t.Error("ready without a trusted clock")
	}
	if got.Closed != "" {
		t.Errorf("closed: %s", got.Closed)
	}
	def := relayConfig(RoleInput{Config: config.Default(), ConfigUse: string(health.ConfigDefault)}, &latestBox{})
	if def.Closed == "" || def.Inside != nil || def.SmartHost != nil {
		t.Errorf("without settings: got closed %q, inside %v, smart host %v", def.Closed, def.Inside, def.SmartHost)
	}
	// What a panic or a log would show of the settings has no password.
	if s := fmt.Sprintf("%+v", h.Config); strings.Contains(s, "kettle") {
		t.Errorf("the settings print a password: %s", s)
	}
}
