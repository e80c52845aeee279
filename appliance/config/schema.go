package config

// file is config.toml as it is written: every value in the form that a person
// types, so that a wrong one can be told with its line.
type file struct {
	Version    *int64         `toml:"version"`
	Hostname   *string        `toml:"hostname"`
	Relay      fileRelay      `toml:"relay"`
	Network    fileNetwork    `toml:"network"`
	Clock      fileClock      `toml:"clock"`
	Trust      fileTrust      `toml:"trust"`
	Lights     fileLights     `toml:"lights"`
	Submission fileSubmission `toml:"submission"`
	Admin      fileAdmin      `toml:"admin"`
	Inbound    []fileInbound  `toml:"inbound"`
	SmartHost  fileServer     `toml:"smart_host"`
	Listen     fileListen     `toml:"listen"`
}

type fileRelay struct {
	TrustedNetworks []string `toml:"trusted_networks"`
	MaxMessageMB    *int64   `toml:"max_message_mb"`
	MaxRecipients   *int64   `toml:"max_recipients"`
	Retry           []string `toml:"retry"`
	Lifetime        *string  `toml:"lifetime"`
	Parallel        *int64   `toml:"parallel"`
	PerDomain       *int64   `toml:"per_domain"`
	DelayNotice     *string  `toml:"delay_notice"`
	RatePerMinute   *int64   `toml:"rate_per_minute"`
	Bind            []string `toml:"bind"`
}

type fileNetwork struct {
	Mode     *string  `toml:"mode"`
	Address  *string  `toml:"address"`
	Gateway  *string  `toml:"gateway"`
	DNS      []string `toml:"dns"`
	IPv6     *string  `toml:"ipv6"`
	Gateway6 *string  `toml:"gateway6"`
}

type fileClock struct {
	Servers []string `toml:"servers"`
}

type fileTrust struct {
	ExtraRoots *string `toml:"extra_roots"`
}

type fileSubmission struct {
	Devices []fileDevice `toml:"devices"`
}

type fileDevice struct {
	Name         string   `toml:"name"`
	PasswordHash string   `toml:"password_hash"`
	Senders      []string `toml:"senders"`
}

type fileAdmin struct {
	Hosts []string `toml:"hosts"`
}

// fileServer is [smart_host], and the part of [[inbound]] about the server.
type fileServer struct {
	Server          string  `toml:"server"`
	Port            *int64  `toml:"port"`
	TLS             *string `toml:"tls"`
	ImplicitTLS     bool    `toml:"implicit_tls"`
	CertificateName *string `toml:"certificate_name"`
	User            string  `toml:"user"`
	Password        string  `toml:"password"`
}

type fileInbound struct {
	Domain string `toml:"domain"`
	fileServer
	Recipients      any      `toml:"recipients"` // a text or a list
	TLSRule         *string  `toml:"tls_rule"`
	ReportAddresses []string `toml:"report_addresses"`
	Final           bool     `toml:"final"`
}

type fileListen struct {
	SMTP        *string `toml:"smtp"`
	Submissions *string `toml:"submissions"`
	Submission  *string `toml:"submission"`
	Page        *string `toml:"page"`
}

// keys is every key by its table, for "did you mean".
var keys = map[string][]string{
	"":                    {"version", "hostname", "relay", "network", "clock", "trust", "lights", "submission", "admin", "inbound", "smart_host", "listen"},
	"relay":               {"trusted_networks", "max_message_mb", "max_recipients", "retry", "lifetime", "parallel", "per_domain", "delay_notice", "rate_per_minute", "bind"},
	"network":             {"mode", "address", "gateway", "dns", "ipv6", "gateway6"},
	"clock":               {"servers"},
	"trust":               {"extra_roots"},
	"lights":              {"profile", "mode", "button", "light", "reset_button"},
	"lights.light":        lightKeys,
	"lights.reset_button": {"chip", "line", "line_name", "active_low", "pull_up", "key"},
	"submission":          {"devices"},
	"submission.devices":  {"name", "password_hash", "senders"},
	"admin":               {"hosts"},
	"inbound":             {"domain", "server", "port", "tls", "implicit_tls", "certificate_name", "user", "password", "recipients", "tls_rule", "report_addresses", "final"},
	"smart_host":          {"server", "port", "tls", "implicit_tls", "certificate_name", "user", "password"},
	"listen":              {"smtp", "submissions", "submission", "page"},
}
