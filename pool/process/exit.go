package process

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/poolproof/poolproof/pool"
)

// ExitKind classifies how a process ended.
type ExitKind uint8

const (
	// ExitUnknown means that somebody else reaped the process and its status is lost.
	ExitUnknown ExitKind = iota
	// ExitClean is an exit with code 0.
	ExitClean
	// ExitCode is an exit with another code.
	ExitCode
	// ExitSignal is death by a signal.
	ExitSignal
	// ExitOutOfMemory is death by a SIGKILL that was not ours, while the kernel's count
	// of processes killed for want of memory rose. This is a best guess: the count is
	// the machine's, and a kernel that hides it leaves ExitSignal.
	ExitOutOfMemory
	// ExitForkServer is death, in whatever way, with the fork server that the process
	// came from.
	ExitForkServer
)

// String returns the name of the kind in lower case.
func (k ExitKind) String() string {
	switch k {
	case ExitUnknown:
		return "unknown"
	case ExitClean:
		return "clean"
	case ExitCode:
		return "code"
	case ExitSignal:
		return "signal"
	case ExitOutOfMemory:
		return "out of memory"
	case ExitForkServer:
		return "fork server"
	}
	return fmt.Sprintf("ExitKind(%d)", uint8(k))
}

// ExitError reports that a worker's process has ended and how. It has been reaped, and
// what was left of its process group has been killed.
type ExitError struct {
	ID     pool.WorkerID // zero: a fork server
	PID    int
	Kind   ExitKind
	Code   int            // for ExitCode
	Signal syscall.Signal // for ExitSignal and ExitOutOfMemory
	Server error          // for ExitForkServer: why that ended
	Output string         // the last of what it printed, at most tailBytes
}

// Unwrap returns Server.
func (e *ExitError) Unwrap() error { return e.Server }

// Error says how the process ended and quotes the last line of its output.
func (e *ExitError) Error() string {
	how := ""
	switch e.Kind {
	case ExitUnknown:
		how = "ended, status unknown"
	case ExitClean:
		how = "exited with code 0"
	case ExitCode:
		how = fmt.Sprintf("exited with code %d", e.Code)
	case ExitSignal:
		how = fmt.Sprintf("was killed by signal %d (%v)", int(e.Signal), e.Signal)
	case ExitOutOfMemory:
		how = "was killed, probably for want of memory"
	case ExitForkServer:
		how = fmt.Sprintf("ended with its fork server (%v)", e.Server)
	}
	return fmt.Sprintf("process: %s, pid %d, %s%s", whose(e.ID), e.PID, how, lastWords(e.Output))
}

// lastWords quotes the last line of a worker's output, for messages.
func lastWords(output string) string {
	output = strings.TrimSpace(output)
	if output == "" {
		return ""
	}
	return fmt.Sprintf("; its last output: %.300q", output[strings.LastIndexByte(output, '\n')+1:])
}

// killEvidence is what tells a kill for want of memory from any other.
type killEvidence struct {
	byUs              bool  // we sent SIGKILL
	oomBefore, oomNow int64 // the kernel's counts at start and exit; negative: unknown
}

// classify fills in how a process with the given status ended.
func (e *ExitError) classify(status syscall.WaitStatus, evidence killEvidence) {
	switch {
	case status.Signaled():
		e.Kind, e.Signal = ExitSignal, status.Signal()
		rose := evidence.oomBefore >= 0 && evidence.oomNow > evidence.oomBefore
		if e.Signal == syscall.SIGKILL && !evidence.byUs && rose {
			e.Kind = ExitOutOfMemory
		}
	case status.ExitStatus() == 0:
		e.Kind = ExitClean
	default:
		e.Kind, e.Code = ExitCode, status.ExitStatus()
	}
}

// orderly reports whether the exit is how a worker should answer to Stop.
func (e *ExitError) orderly() bool {
	return e.Kind == ExitClean || e.Kind == ExitSignal && e.Signal == syscall.SIGTERM
}
