package process

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/poolproof/poolproof/pool"
)

// LaunchError reports that the process of a worker, or of a fork server, could not be
// made; nothing of it is left. Err wraps fs.ErrNotExist if the program, its interpreter or
// the working directory is missing, and fs.ErrPermission if one of them, or a limit that
// was asked for, is denied; retrying cannot help until that is mended. Where a fork server
// was to make the process, Err may be why that ended (*ExitError, *VersionError,
// ErrProtocol), or what it said; retrying then starts another.
type LaunchError struct {
	ID      pool.WorkerID // zero: a fork server
	Command string        // the program that was asked for
	Err     error
}

// Error names the worker, the program and the cause.
func (e *LaunchError) Error() string {
	return fmt.Sprintf("process: %s not launched: %q: %v", whose(e.ID), e.Command, e.Err)
}

// Unwrap returns the cause.
func (e *LaunchError) Unwrap() error { return e.Err }

// ForkServerVariable is the environment variable that tells a fork server which descriptor
// is its socket.
const ForkServerVariable = "POOLPROOF_FORK_SERVER"

// whose names the owner of a process in messages.
func whose(id pool.WorkerID) string {
	if id == 0 {
		return "fork server"
	}
	return fmt.Sprintf("worker %d", id)
}

// program says what to execute and within which limits. It is the part that a Config and
// a ForkConfig have in common.
type program struct {
	command      []string
	dir          string
	env          []string // as listed: see Config.Env
	addressSpace int64
	openFiles    int
	coreDumps    bool
	umask        *fs.FileMode
	nice         int
}

const (
	leastOpenFiles = 16 // what an interpreter needs to start
	leastNice      = -20
	mostNice       = 19
)

// complaints reports what is wrong with the fields that became p; owner is the name of the
// type they are in.
func (p *program) complaints(owner string) error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("process: "+owner+"."+format, args...))
		}
	}
	complain(len(p.command) > 0 && p.command[0] == "", "Command[0] is empty; it must name a program")
	for i, arg := range p.command {
		complain(strings.ContainsRune(arg, 0), "Command[%d] is %q; it must not hold a zero byte", i, arg)
	}
	complain(strings.ContainsRune(p.dir, 0), "Dir is %q; it must not hold a zero byte", p.dir)
	for _, entry := range p.env {
		name, _, _ := strings.Cut(entry, "=")
		complain(name == "", "Env has the entry %q; it must have a name", entry)
		complain(name == ChannelVariable, "Env sets %s; the channel is chosen by Stdio", ChannelVariable)
		complain(name == ForkServerVariable, "Env sets %s; it is set for a fork server alone", ForkServerVariable)
		complain(strings.ContainsRune(entry, 0), "Env has the entry %q; it must not hold a zero byte", entry)
	}
	complain(p.addressSpace < 0, "AddressSpace is %d bytes; it must not be negative", p.addressSpace)
	complain(p.openFiles < 0 || p.openFiles > 0 && p.openFiles < leastOpenFiles,
		"OpenFiles is %d; it must be 0 or at least %d", p.openFiles, leastOpenFiles)
	complain(p.umask != nil && *p.umask&^fs.ModePerm != 0, "Umask is %#o; it must be from 0 to 0777", orZero(p.umask))
	complain(p.nice < leastNice || p.nice > mostNice, "Nice is %d; it must be from %d to %d", p.nice, leastNice, mostNice)
	return errors.Join(errs...)
}

func orZero(mode *fs.FileMode) uint32 {
	if mode == nil {
		return 0
	}
	return uint32(*mode)
}

// set returns the names of the fields that are not zero.
func (p *program) set() (names []string) {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"Command", len(p.command) > 0},
		{"Dir", p.dir != ""},
		{"Env", len(p.env) > 0},
		{"AddressSpace", p.addressSpace != 0},
		{"OpenFiles", p.openFiles != 0},
		{"CoreDumps", p.coreDumps},
		{"Umask", p.umask != nil},
		{"Nice", p.nice != 0},
	} {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}

// environment returns all variables of the process: own, then those listed. lookup finds
// the host's.
func (p *program) environment(own string, lookup func(string) (string, bool)) []string {
	env := []string{own}
	hasPath := false
	for _, entry := range p.env {
		name, _, set := strings.Cut(entry, "=")
		hasPath = hasPath || name == "PATH"
		if set {
			env = append(env, entry)
		} else if value, ok := lookup(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if path, ok := lookup("PATH"); ok && !hasPath {
		env = append(env, "PATH="+path)
	}
	return env
}
