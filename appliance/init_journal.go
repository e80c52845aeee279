package appliance

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"gatepost/appliance/journal"
)

// logFolder is where the log of earlier hours is, below our own folder.
const logFolder = "log"

// journalKeeper saves the log; without a disk it does nothing.
type journalKeeper struct {
	mu     sync.Mutex
	keeper *journal.Keeper // nil without a disk
}

// startJournal reads the log from before the restart and saves it once an hour.
func (p *initProcess) startJournal(life context.Context) {
	if p.system == nil {
		return
	}
	if err := p.keeper.open(p.system, p.journal); err != nil {
		p.warn("log", err)
	}
	p.keep(life, "log", func(ctx context.Context) error {
		tick := time.NewTicker(journal.SaveEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				p.warn("log", p.keeper.save())
			}
		}
	})
}

func (k *journalKeeper) open(system *os.Root, j *journal.Journal) error {
	if err := system.Mkdir(logFolder, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("the log is not kept on the disk: %w", err)
	}
	root, err := system.OpenRoot(logFolder)
	if err != nil {
		return fmt.Errorf("the log is not kept on the disk: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keeper = &journal.Keeper{Journal: j, Archive: journal.Archive{Root: root}}
	return k.keeper.Begin()
}

// save writes what is new.
func (k *journalKeeper) save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keeper == nil {
		return nil
	}
	return k.keeper.Save()
}

// close saves for the last time and lets go of the folder, so that the disk
// can be closed.
func (k *journalKeeper) close() error {
	err := k.save()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keeper != nil {
		k.keeper.Archive.Root.Close()
		k.keeper = nil
	}
	return err
}
