package queue

import (
	"slices"
	"unique"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// lean makes texts of an envelope that many messages have in common one text
// for all of them.
func lean(env *spool.Envelope) {
	for _, s := range []*string{&env.From, &env.User, &env.Client, &env.HelloName, &env.TLS, &env.Ret} {
		if *s != "" {
			*s = unique.Make(*s).Value()
		}
	}
}

// leanVerdict lets v share texts with the verdict before it of the same domain,
// which is nearly always alike but for the time. Nobody else sees v yet.
func leanVerdict(v, before *verdict.Verdict) {
	if v == nil || before == nil || v == before {
		return
	}
	for _, p := range [][2]*string{
		{&v.Rule, &before.Rule},
		{&v.Domain, &before.Domain},
		{&v.MX, &before.MX},
		{&v.Addr, &before.Addr},
		{&v.TLSVersion, &before.TLSVersion},
		{&v.Cipher, &before.Cipher},
		{&v.CertIssuer, &before.CertIssuer},
		{&v.PolicyMode, &before.PolicyMode},
		{&v.PolicyID, &before.PolicyID},
		{&v.Enhanced, &before.Enhanced},
		{&v.Reply, &before.Reply},
		{&v.Detail, &before.Detail},
	} {
		if *p[0] == *p[1] {
			*p[0] = *p[1]
		}
	}
	if slices.Equal(v.CertNames, before.CertNames) {
		v.CertNames = before.CertNames
	}
	if slices.Equal(v.PolicyMX, before.PolicyMX) {
		v.PolicyMX = before.PolicyMX
	}
}
