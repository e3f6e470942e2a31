// Package osspecific: the part for Linux, which the published module lacks (its name matches a pattern that keeps it
// out). Put beside the others before the build.
package osspecific

import (
	"os"
	"syscall"

	"github.com/argoproj/argo-workflows/v3/util/errors"
)

// Term asks a process to end.
var Term = os.Signal(syscall.SIGTERM)

// CanIgnoreSignal says whether a signal concerns this process alone, so that it is not handed on.
func CanIgnoreSignal(s os.Signal) bool {
	switch s {
	case syscall.SIGCHLD, syscall.SIGURG:
		return true
	default:
		return false
	}
}

// Kill sends a signal to the group of a process, or to the process alone where it has none.
func Kill(pid int, s syscall.Signal) error {
	group, err := syscall.Getpgid(pid)
	if err != nil {
		return syscall.Kill(pid, s)
	}
	return syscall.Kill(-group, s)
}

// Setpgid gives a process that is about to start a group of its own.
func Setpgid(a *syscall.SysProcAttr) {
	a.Setpgid = true
}

// Wait reaps whatever ends, as the first process of a container has to, until the given one does.
func Wait(process *os.Process) error {
	wanted := process.Pid
	if err := process.Release(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case ended != wanted:
			continue
		case status.Exited():
			return errors.NewExitErr(status.ExitStatus())
		case status.Signaled():
			return errors.NewExitErr(128 + int(status.Signal()))
		}
	}
}
