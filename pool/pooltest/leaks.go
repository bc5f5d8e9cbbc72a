package pooltest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// CheckLeaks fails the test, at its end, for everything of the process that is there
// then and was not when CheckLeaks was called: goroutines (except in a bubble, which
// looks after its own), child processes, reaped or not, and open descriptors. It waits
// up to about a second for them to go. It judges after every clean-up that was
// registered later. It must not be used in tests that run in parallel with others.
func CheckLeaks(t testing.TB) {
	t.Helper()
	current := goleak.IgnoreCurrent()
	before := takeInventory()
	t.Cleanup(func() {
		t.Helper()
		if !inBubble() {
			// Goroutines first: they hold the rest.
			if err := goleak.Find(current); err != nil {
				t.Errorf("leak: goroutines: %v", err)
			}
		}
		for _, leak := range awaitNothingNew(before) {
			t.Errorf("leak: %s", leak)
		}
	})
}

// awaitNothingNew returns what is new since before and does not go away. The end of a
// process or a descriptor is no event for us, so this asks ten times, ever less often.
func awaitNothingNew(before inventory) (leaks []string) {
	for pause := time.Millisecond; pause <= 512*time.Millisecond; pause *= 2 {
		if leaks = takeInventory().since(before); len(leaks) == 0 {
			return nil
		}
		time.Sleep(pause)
	}
	return takeInventory().since(before)
}

// inventory is what a process has: child processes and descriptors, each with a text
// that tells it from others.
type inventory struct {
	children    map[int]string
	descriptors map[int]string
}

func takeInventory() inventory {
	return inventory{children: childProcesses(), descriptors: openDescriptors()}
}

// since describes what is in v and was not in before.
func (v inventory) since(before inventory) (news []string) {
	for _, pid := range slices.Sorted(maps.Keys(v.children)) {
		if _, known := before.children[pid]; !known {
			news = append(news, fmt.Sprintf("child process %d (%s)", pid, v.children[pid]))
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(v.descriptors)) {
		if before.descriptors[fd] != v.descriptors[fd] {
			news = append(news, fmt.Sprintf("descriptor %d (%s)", fd, v.descriptors[fd]))
		}
	}
	return news
}

// openDescriptors returns the descriptors of this process with what they refer to.
// Those of the runtime's network poller, which live as long as the process, are left out.
func openDescriptors() map[int]string {
	fds := map[int]string{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fds
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // the one that read the directory
		case target == "anon_inode:[eventpoll]", target == "anon_inode:[eventfd]":
		default:
			fds[fd] = target
		}
	}
	return fds
}

// childProcesses returns the children of this process, zombies included, with their
// state and name.
func childProcesses() map[int]string {
	children := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return children
	}
	self := strconv.Itoa(os.Getpid())
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // gone
		}
		// pid (name) state ppid ...; the name may contain anything.
		open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if open < 0 || shut < open {
			continue
		}
		fields := strings.Fields(string(stat[shut+1:]))
		if len(fields) < 2 || fields[1] != self {
			continue
		}
		children[pid] = fmt.Sprintf("%s, state %s", stat[open+1:shut], fields[0])
	}
	return children
}
