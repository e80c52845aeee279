package appliance

import (
	"slices"
	"testing"

	"gatepost/appliance/health"
	"gatepost/board/led"
	"gatepost/relay/verdict"
	"gatepost/webui/words"
)

// The siblings do not know each other: here it is held that every reason of the
// mail machine and every problem of the box has words in every language, and
// that the catalogue has no words for what does not exist.
func TestEverythingHasWords(t *testing.T) {
	problems := []string{
		health.StorageMissingID, health.StorageFailedID, health.StorageFullID, health.StorageNearlyID,
		health.SpoolDamagedID, health.StoreDamagedID, health.ConfigLastGoodID, health.ConfigDefaultID, health.NoNetworkID,
		health.DNSBrokenID, health.ClockWrongID, health.RelayDownID, health.WebDownID, health.HeldMailID,
		health.BacklogID, health.BootingID,
	}
	rows := []led.Row{
		led.RowButtonNothing, led.RowButtonPassword, led.RowButtonReset, led.RowUpdating, led.RowFind,
		led.RowBooting, led.RowDead, led.RowHeld, led.RowDiskFull, led.RowBacklog, led.RowRolledBack,
		led.RowNoNetwork, led.RowUpdateReady, led.RowMail, led.RowHealthy, led.RowNight,
	}
	for _, lang := range words.Languages() {
		book, err := words.Load(lang)
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, r := range verdict.All() {
			reasons = append(reasons, string(r))
		}
		slices.Sort(reasons)
		if got := book.ReasonIDs(); !slices.Equal(got, reasons) {
			t.Errorf("%s: got words for the reasons %v, want %v", lang, got, reasons)
		}
		for _, p := range problems {
			if !slices.Contains(book.ProblemIDs(), p) {
				t.Errorf("%s: the problem %q has no words", lang, p)
			}
		}
		for _, r := range rows {
			if !slices.Contains(book.LightIDs(), string(r)) {
				t.Errorf("%s: the light %q has no words", lang, r)
			}
		}
	}
}
