package health

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// well is a box on which nothing is wrong.
func well() Conditions {
	return Conditions{
		ClockTrusted: true, Link: true, Address: true, DNS: true, DNSKnown: true,
		Storage: StorageOK, DiskPercent: 12, RelayUp: true, WebUp: true, Config: ConfigFile,
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*Conditions)
		away     time.Duration // for how long the network has been away
		level    Level
		problems []string
		rows     []Row
	}{
		{"all well", func(*Conditions) {}, 0, Fine, nil, nil},
		{"starting", func(c *Conditions) { *c = Conditions{Booting: true} }, 0, Busy, []string{BootingID}, []Row{RowBooting}},
		{"no clock", func(c *Conditions) { c.ClockTrusted = false }, 0, Look, []string{ClockWrongID}, []Row{RowBooting}},
		{"no clock for want of a network", func(c *Conditions) { c.ClockTrusted, c.Address = false, false }, 0, Broken, []string{NoNetworkID, ClockWrongID}, []Row{RowNoNetwork}},
		{"no clock for want of names", func(c *Conditions) { c.ClockTrusted, c.DNS = false, false }, 0, Broken, []string{DNSBrokenID, ClockWrongID}, []Row{RowNoNetwork}},
		{"no cable", func(c *Conditions) { c.Link = false }, 0, Broken, []string{NoNetworkID}, []Row{RowNoNetwork}},
		{"no names", func(c *Conditions) { c.DNS = false }, 0, Broken, []string{DNSBrokenID}, []Row{RowNoNetwork}},
		{"names not asked yet", func(c *Conditions) { c.DNS, c.DNSKnown = false, false }, 0, Fine, nil, nil},
		{"no disk", func(c *Conditions) { c.Storage = StorageMissing }, 0, Broken, []string{StorageMissingID}, []Row{RowDead}},
		{"bad disk", func(c *Conditions) { c.Storage = StorageFailed }, 0, Broken, []string{StorageFailedID}, []Row{RowDead}},
		{"bad disk while starting", func(c *Conditions) { *c = Conditions{Booting: true, Storage: StorageFailed} }, 0, Broken, []string{StorageFailedID, BootingID}, []Row{RowBooting, RowDead}},
		{"disk at 84", func(c *Conditions) { c.DiskPercent = 84 }, 0, Fine, nil, nil},
		{"disk at 85", func(c *Conditions) { c.DiskPercent = 85 }, 0, Look, []string{StorageNearlyID}, []Row{RowDiskFull}},
		{"disk at 95", func(c *Conditions) { c.DiskPercent = 95 }, 0, Broken, []string{StorageFullID}, []Row{RowDiskFull}},
		{"no room at 90", func(c *Conditions) { c.DiskPercent, c.SpoolFull = 90, true }, 0, Broken, []string{StorageFullID}, []Row{RowDiskFull}},
		{"held", func(c *Conditions) { c.Held = 3 }, 0, Look, []string{HeldMailID}, []Row{RowHeld}},
		{"held, network just gone", func(c *Conditions) { c.Held, c.Link = 3, false }, 59 * time.Second, Broken, []string{NoNetworkID, HeldMailID}, []Row{RowNoNetwork, RowHeld}},
		{"held, network long gone", func(c *Conditions) { c.Held, c.Link = 3, false }, 60 * time.Second, Broken, []string{NoNetworkID}, []Row{RowNoNetwork}},
		{"backlog by age", func(c *Conditions) { c.Waiting, c.OldestDeferred = 1, 31*time.Minute }, 0, Look, []string{BacklogID}, []Row{RowBacklog}},
		{"backlog by number", func(c *Conditions) { c.Waiting = 101 }, 0, Look, []string{BacklogID}, []Row{RowBacklog}},
		{"no backlog", func(c *Conditions) { c.Waiting, c.OldestDeferred = 100, 30*time.Minute }, 0, Fine, nil, nil},
		{"disk back at 80", func(c *Conditions) { c.DiskPercent, c.WasDiskFull = 80, true }, 0, Look, []string{StorageNearlyID}, []Row{RowDiskFull}},
		{"disk back at 79", func(c *Conditions) { c.DiskPercent, c.WasDiskFull = 79, true }, 0, Fine, nil, nil},
		{"backlog back at half", func(c *Conditions) { c.Waiting, c.WasBacklog = 50, true }, 0, Look, []string{BacklogID}, []Row{RowBacklog}},
		{"backlog below half", func(c *Conditions) { c.Waiting, c.OldestDeferred, c.WasBacklog = 49, 15*time.Minute-1, true }, 0, Fine, nil, nil},
		{"held, names long gone", func(c *Conditions) { c.Held, c.DNS = 3, false }, 60 * time.Second, Broken, []string{DNSBrokenID}, []Row{RowNoNetwork}},
		{"old settings", func(c *Conditions) { c.Config = ConfigLastGood }, 0, Look, []string{ConfigLastGoodID}, []Row{RowRolledBack}},
		{"no settings", func(c *Conditions) { c.Config = ConfigDefault }, 0, Broken, []string{ConfigDefaultID}, []Row{RowDead}},
		{"relay down", func(c *Conditions) { c.RelayUp = false }, 0, Broken, []string{RelayDownID}, []Row{RowDead}},
		{"page down", func(c *Conditions) { c.WebUp = false }, 0, Look, []string{WebDownID}, []Row{RowRolledBack}},
		{"damaged record", func(c *Conditions) { c.SpoolDamaged = 1 }, 0, Look, []string{SpoolDamagedID}, []Row{RowRolledBack}},
		{"damaged database", func(c *Conditions) { c.StoreDamaged = true }, 0, Look, []string{StoreDamagedID}, []Row{RowRolledBack}},
		{"two at once, the worse first", func(c *Conditions) { c.Held, c.DiskPercent = 1, 96 }, 0, Broken, []string{StorageFullID, HeldMailID}, []Row{RowDiskFull, RowHeld}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cond := well()
			c.change(&cond)
			s := Judge(cond, c.away)
			var ids []string
			for _, p := range s.Problems {
				ids = append(ids, p.ID)
			}
			if s.Level != c.level || !reflect.DeepEqual(ids, c.problems) || !reflect.DeepEqual(s.Rows, c.rows) {
				t.Errorf("got  %s, %v, %v\nwant %s, %v, %v", s.Level, ids, s.Rows, c.level, c.problems, c.rows)
			}
		})
	}
}

// Whatever the conditions: the level is that of the worst problem, the worst
// comes first, and the lights never look healthy while something is wrong.
func TestJudgeAlwaysAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flip := func() bool { return r.IntN(2) == 0 }
	for range 20000 {
		c := Conditions{
			Booting: flip(), ClockTrusted: flip(), Link: flip(), Address: flip(), DNS: flip(), DNSKnown: flip(),
			Storage: []Storage{StorageOK, StorageMissing, StorageFailed, StorageUnknown}[r.IntN(4)], DiskPercent: r.IntN(101),
			SpoolDamaged: r.IntN(2), RelayUp: flip(), WebUp: flip(), Held: r.IntN(2), Waiting: r.IntN(200),
			WasDiskFull: flip(), WasBacklog: flip(),
			OldestDeferred: time.Duration(r.IntN(3600)) * time.Second,
			Config:         []ConfigUse{ConfigFile, ConfigLastGood, ConfigDefault}[r.IntN(3)],
		}
		s := Judge(c, time.Duration(r.IntN(120))*time.Second)
		if (s.Level == Fine) != (len(s.Problems) == 0) || (s.Level == Fine) != (len(s.Rows) == 0) {
			t.Fatalf("%+v: level %s with %d problems and rows %v", c, s.Level, len(s.Problems), s.Rows)
		}
		for i, p := range s.Problems {
			if i == 0 && p.Level != s.Level || i > 0 && rank(p.Level) > rank(s.Problems[i-1].Level) {
				t.Fatalf("%+v: problems out of order: %+v", c, s.Problems)
			}
		}
	}
}
