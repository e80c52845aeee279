package appliance

import (
	"context"
	"errors"
	"os"

	"gatepost/appliance/boot"
	"gatepost/appliance/control"
)

// openStorage brings the data disk up, or says why not and goes on.
func (p *initProcess) openStorage(ctx context.Context) {
	template, err := boot.Template()
	p.warn("storage", err)
	st := boot.Opener{
		Find:   boot.DiskFinder{SysBlock: "/sys/class/block", Dev: "/dev", Label: boot.DataLabel, Wait: diskWait},
		Target: boot.DataDir,
		Folders: append(roleFolders(),
			boot.Folder{Name: ".", UID: rootUID, GID: rootUID, Mode: 0o755},
			boot.Folder{Name: "system", UID: rootUID, GID: rootUID, Mode: 0o700}),
		Template: template,
	}.Open(ctx)
	if st.OK {
		if p.data, err = os.OpenRoot(boot.DataDir); err == nil {
			p.system, err = os.OpenRoot(systemDir)
			p.warn("settings", ownSettings(p.data))
		}
		if err != nil {
			st.OK, st.Message = false, err.Error()
			p.data, p.system = nil, nil
		}
	}
	p.storage = st
	box := control.Storage{State: control.StorageOK, Device: st.Device, Message: st.Message}
	switch {
	case st.Missing:
		box.State = control.StorageMissing
	case !st.OK:
		box.State = control.StorageFailed
	}
	for _, line := range st.Done {
		p.say("storage: %s", line)
	}
	if st.OK {
		box.TotalBytes, box.FreeBytes, _ = boot.DiskSpace(boot.DataDir)
		p.say("storage: %s is in use, %d of %d MB free", st.Device, box.FreeBytes>>20, box.TotalBytes>>20)
	}
	if st.Message != "" {
		p.say("storage: %s", st.Message)
	}
	p.state.setStorage(box)
}

// eraseData makes an empty data disk of one that was set aside at the start:
// its mail, settings and history are gone. The box must be restarted then. A
// disk that is in use is refused (that is what a factory reset is for), and so
// is one that is not ours without doubt or cannot be written.
func (p *initProcess) eraseData() error {
	switch st := p.storage; {
	case st.OK:
		return errors.New("the data disk is in use; a factory reset empties it")
	case st.Device == "":
		return errors.New("there is no data disk")
	case !st.Erasable:
		return errors.New("nothing can be written to the data disk: " + st.Message)
	}
	template, err := boot.Template()
	if err != nil {
		return err
	}
	p.say("storage: %s is made empty", p.storage.Device)
	return boot.FormatData(p.storage.Device, template)
}
