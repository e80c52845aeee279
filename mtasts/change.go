package mtasts

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what one Step asks for.
type Action string

// The actions.
const (
	AddMX        Action = "add-mx"        // MX records that only the new policy lists may be added now
	RemoveMX     Action = "remove-mx"     // MX hosts that the new policy does not list must be gone before the next step
	ServePolicy  Action = "serve-policy"  // serve the new text at the policy host
	VerifyPolicy Action = "verify-policy" // fetch it from outside and compare
	SetRecord    Action = "set-record"    // change the TXT record to Record
	Wait         Action = "wait"          // let Duration pass
)

// Step is one step of a change of a domain's own policy.
type Step struct {
	Action Action
	// Record is the text of the TXT record, with SetRecord.
	Record string
	// Hosts are the patterns that differ, with AddMX and RemoveMX.
	Hosts []string
	// Duration belongs to Wait.
	Duration time.Duration
	// Why is the reason, in one English sentence.
	Why string
}

// PlanChange gives the steps from one policy text to another, in the order in
// which no sender sees a policy that refuses the domain's MX hosts (Section
// 8.1: first the policy over HTTPS, then the record; until the old record has
// left the caches of the DNS, mail has to pass under both). old is empty for a
// first policy. recordTTL is the TTL of the TXT record. Equal texts need no
// step. It fails with a *SyntaxError when a text is malformed.
func PlanChange(old, next []byte, recordTTL time.Duration) ([]Step, error) {
	var from Policy
	if len(old) > 0 {
		var err error
		if from, err = ParsePolicy(old); err != nil {
			return nil, fmt.Errorf("old policy: %w", err)
		}
		if string(old) == string(next) {
			return nil, nil
		}
	}
	to, err := ParsePolicy(next)
	if err != nil {
		return nil, fmt.Errorf("new policy: %w", err)
	}
	added, removed := missing(to.MX, from.MX), missing(from.MX, to.MX)
	var steps []Step
	if to.Mode == Enforce && len(removed) > 0 {
		steps = append(steps, Step{
			Action: RemoveMX, Hosts: removed,
			Why: "Senders that hold the new policy refuse hosts that it does not list.",
		})
	}
	steps = append(steps,
		Step{Action: ServePolicy, Why: "The record announces the policy, so the policy has to be there first."},
		Step{Action: VerifyPolicy, Why: "A record without a policy that can be fetched protects nobody."},
		Step{Action: SetRecord, Record: Record{ID: PolicyID(next)}.String(), Why: "A new id makes senders fetch the new policy."},
	)
	if len(old) == 0 {
		return steps, nil
	}
	steps = append(steps, Step{
		Action: Wait, Duration: recordTTL,
		Why: "Until then the old record is in the caches of the DNS, and the old policy with senders.",
	})
	if from.Mode == Enforce && len(added) > 0 {
		steps = append(steps, Step{
			Action: AddMX, Hosts: added,
			Why: "Senders that hold the old policy refuse hosts that it does not list.",
		})
	}
	return steps, nil
}

// missing lists the patterns of a that are not in b.
func missing(a, b []string) []string {
	var list []string
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y string) bool { return strings.EqualFold(x, y) }) {
			list = append(list, x)
		}
	}
	return list
}
