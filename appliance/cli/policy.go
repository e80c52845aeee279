package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"gatepost/appliance/api"
	"gatepost/appliance/speech"
	"gatepost/relay/verdict"
)

func policyCommands() []command {
	return []command{
		{
			name: "policy list", args: "[TEXT]", about: "Lists the saved rules (MTA-STS) of other domains.",
			more: "With TEXT only the domains that contain it.",
			flags: func(f *flag.FlagSet, o *options) {
				f.BoolVar(&o.trouble, "trouble", false, "only those that could not be refreshed")
				f.IntVar(&o.limit, "limit", 0, "show at most this `NUMBER` (100)")
				f.BoolVar(&o.all, "all", false, "show everything")
			},
			run: listPolicies,
		},
		{name: "policy show", args: "DOMAIN", about: "Tells the saved rules of one domain.", run: showPolicy},
		{
			name: "policy refresh", args: "DOMAIN", about: "Reads the rules of a domain now.",
			more: "A failure never shortens or drops saved rules that are still good.", run: refreshPolicy,
		},
		{
			name: "policy check", args: "DOMAIN", about: "Finds out what would become of mail to a domain now.",
			more: "Its name servers and each of its mail servers are asked, as for mail. No mail is sent.", run: checkDomain,
		},
	}
}

func listPolicies(ctx context.Context, k call) error {
	if len(k.args) > 1 {
		return Usagef("policy list takes one word; see gatepost policy list -h")
	}
	q := api.PolicyQuery{Domain: strings.Join(k.args, ""), Trouble: k.trouble}
	shown, n := k.shown(), 0
	for {
		q.Limit = pageSize
		if shown > 0 {
			q.Limit = min(pageSize, shown-n)
		}
		page, err := k.client.Policies(ctx, q)
		if err != nil {
			return err
		}
		var rows [][]string
		if n == 0 && len(page.Policies) > 0 && !k.json {
			rows = append(rows, []string{"DOMAIN", "RULES", "SERVERS", "READ", "GOOD UNTIL", "TROUBLE"})
		}
		for _, p := range page.Policies {
			if k.json {
				if err := writeJSON(k.Out, p); err != nil {
					return err
				}
				continue
			}
			until := k.say.Time(p.Expires)
			if p.Ended {
				until = "ended"
			}
			rows = append(rows, []string{
				cut(p.Domain, 60), modeWords(p.Mode), fmt.Sprint(len(p.MX)), k.say.Time(p.Fetched), until, orDash(cut(p.Trouble, 40)),
			})
		}
		writeTable(k.Out, rows)
		n += len(page.Policies)
		if q.After = page.Next; page.Next != "" && n != shown {
			continue
		}
		switch {
		case k.json:
		case page.Total == 0:
			fmt.Fprintln(k.Out, "No rules of other domains are saved yet.")
		case n == 0:
			fmt.Fprintf(k.Out, "None of the saved rules (%s) fit.\n", plural(page.Total, "domain"))
		case page.Next != "":
			fmt.Fprintf(k.Out, "\n%d shown, %s in all; -all shows every one.\n", n, plural(page.Total, "domain"))
		}
		return nil
	}
}

func showPolicy(ctx context.Context, k call) error {
	if len(k.args) != 1 {
		return Usagef("policy show needs a domain; see gatepost policy show -h")
	}
	p, err := k.client.Policy(ctx, k.args[0])
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("no rules of %s are saved; gatepost policy refresh reads them now", quoted(k.args[0], 80))
	}
	if err != nil {
		return err
	}
	if k.json {
		return writeJSON(k.Out, p)
	}
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	t.line(0, "%s: %s", cut(p.Domain, 80), modeWords(p.Mode))
	t.line(2, "servers     %s", list(foreigns(p.MX), 20))
	t.line(2, "id          %s", orDash(cut(p.ID, 32)))
	t.line(2, "read        %s", k.say.Time(p.Fetched))
	good := "good until  " + k.say.Time(p.Expires)
	if p.Ended {
		good = "ended       " + k.say.Time(p.Expires) + ": mail goes out as if there were none"
	}
	t.line(2, "%s", good)
	t.line(2, "last used   %s", k.say.Time(p.Used))
	t.line(2, "read again  %s", k.say.Time(p.RefreshAt))
	if p.Trouble != "" {
		t.line(2, "trouble     %s", cut(p.Trouble, 60))
		t.line(2, "            %s", cut(p.Detail, 300))
	}
	t.tellSource(p)
	return nil
}

// bodyLines is how many lines of a policy are shown.
const bodyLines = 60

// tellSource tells how the rules are known: the DNS, the server, the text.
func (t teller) tellSource(p api.Policy) {
	if p.SeenID != p.ID {
		t.line(2, "DNS says    %s", orDash(cut(p.SeenID, 32)))
	}
	if h := p.Host; h != nil && h.Addr != "" {
		t.line(2, "read from   %s, %s, certificate for %s by %s", cut(h.Addr, 60), orDash(cut(h.TLSVersion, 20)),
			list(foreigns(h.CertNames), 5), orDash(cut(h.CertIssuer, 60)))
	}
	for i, line := range strings.Split(strings.TrimRight(p.Body, "\r\n"), "\n") {
		switch {
		case p.Body == "" || i > bodyLines:
		case i == bodyLines:
			t.line(2, "            and more; -json has all of it")
		case i == 0:
			t.line(2, "as served   %s", cut(strings.TrimSuffix(line, "\r"), 120))
		default:
			t.line(2, "            %s", cut(strings.TrimSuffix(line, "\r"), 120))
		}
	}
}

func refreshPolicy(ctx context.Context, k call) error {
	if len(k.args) != 1 {
		return Usagef("policy refresh needs a domain; see gatepost policy refresh -h")
	}
	a, err := k.client.RefreshPolicy(ctx, k.args[0])
	if err != nil {
		return fmt.Errorf("%s: %s", cut(k.args[0], 80), cut(err.Error(), 300))
	}
	if k.json {
		return writeJSON(k.Out, a)
	}
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	switch {
	case a.Trouble != "" && a.Held:
		t.line(0, "%s could not be read now (%s). The saved rules stay in force until %s.", cut(a.Domain, 80), cut(a.Trouble, 60), k.say.Time(a.Expires))
	case a.Trouble != "":
		t.line(0, "%s announces rules, but they could not be read (%s). Mail goes out as if there were none.", cut(a.Domain, 80), cut(a.Trouble, 60))
	case !a.Held:
		t.line(0, "%s has no rules. Mail goes out as if MTA-STS did not exist.", cut(a.Domain, 80))
	case a.Changed:
		t.line(0, "Read again: the rules of %s are new.", cut(a.Domain, 80))
	default:
		t.line(0, "Read again. Nothing changed.")
	}
	if a.Detail != "" {
		t.line(2, "%s", cut(a.Detail, 300))
	}
	if a.Held {
		t.line(2, "%s; servers %s; good until %s", modeWords(a.Mode), list(foreigns(a.MX), 20), k.say.Time(a.Expires))
	}
	return nil
}

func checkDomain(ctx context.Context, k call) error {
	if len(k.args) != 1 {
		return Usagef("policy check needs a domain; see gatepost policy check -h")
	}
	c, err := k.client.Check(ctx, k.args[0])
	if err != nil {
		return fmt.Errorf("%s: %s", cut(k.args[0], 80), cut(err.Error(), 300))
	}
	if k.json {
		return writeJSON(k.Out, c)
	}
	v := c.Verdict
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	switch v.Outcome {
	case "":
		t.line(0, "%s: the settings of this box say where this mail goes; that server is not asked.", cut(c.Domain, 80))
	case verdict.Delivered:
		t.line(0, "%s: mail would be sent, %s.", cut(c.Domain, 80), protectionWords(v.Protection))
	default:
		t.line(0, "%s: mail would not be sent now. %s", cut(c.Domain, 80), k.say.Verdict(v, speech.About{}).Sentence)
	}
	t.rules(2, v)
	if e := v.Evidence; e != nil {
		t.route(2, v, e)
		for _, h := range e.Hosts {
			t.host(2, h)
		}
	}
	return nil
}

func protectionWords(p verdict.Protection) string {
	switch p {
	case verdict.Verified:
		return "encrypted and the certificate checked"
	case verdict.Encrypted:
		return "encrypted, the certificate not checked"
	}
	return "not encrypted"
}
