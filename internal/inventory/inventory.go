// Package inventory says what a process has, child processes and descriptors, so that what
// is left over can be told from what was there before.
package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Inventory is what this process has at a moment: its children, zombies included, by their
// numbers, and its descriptors, each with a text that tells it from others.
type Inventory struct {
	Children    map[int]string
	Descriptors map[int]string
}

// Take returns what there is now. It does not block.
func Take() Inventory {
	return Inventory{Children: Children(), Descriptors: Descriptors()}
}

// Since describes what is in v and was not in before.
func (v Inventory) Since(before Inventory) (news []string) {
	for _, pid := range slices.Sorted(maps.Keys(v.Children)) {
		if _, known := before.Children[pid]; !known {
			news = append(news, fmt.Sprintf("child process %d (%s)", pid, v.Children[pid]))
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(v.Descriptors)) {
		if before.Descriptors[fd] != v.Descriptors[fd] {
			news = append(news, fmt.Sprintf("descriptor %d (%s)", fd, v.Descriptors[fd]))
		}
	}
	return news
}

// AwaitNothingSince returns what is new since before and does not go away. The end of a
// process or a descriptor is no event for us, so this asks ten times, ever less often, which
// takes up to about a second.
func AwaitNothingSince(before Inventory) (leaks []string) {
	for pause := time.Millisecond; pause <= 512*time.Millisecond; pause *= 2 {
		if leaks = Take().Since(before); len(leaks) == 0 {
			return nil
		}
		time.Sleep(pause)
	}
	return Take().Since(before)
}

// InBubble reports whether the caller is in a testing/synctest bubble.
func InBubble() bool {
	header, _, _ := strings.Cut(string(debug.Stack()), "\n")
	return strings.Contains(header, "synctest bubble")
}

// Descriptors returns the descriptors of this process with what they refer to. Those of the
// runtime's network poller, which live as long as the process, are left out.
func Descriptors() map[int]string {
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

// Children returns the children of this process, zombies included, with their name and
// state.
func Children() map[int]string {
	children := map[int]string{}
	self := os.Getpid()
	for pid, p := range Processes() {
		if p.Parent == self {
			children[pid] = fmt.Sprintf("%s, state %c", p.Name, p.State)
		}
	}
	return children
}

// Proc is a process as the kernel shows it.
type Proc struct {
	Name          string
	State         byte // 'Z': a zombie
	Parent, Group int
	Session       int
	Resident      int64  // bytes
	Began         uint64 // in ticks since the machine was started: tells it from others of that number
}

// Processes returns all processes that can be seen, by their numbers.
func Processes() map[int]Proc {
	all := map[int]Proc{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return all
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := Look(pid); err == nil {
			all[pid] = p
		}
	}
	return all
}

// Look returns a process, or an error if there is none of that number.
func Look(pid int) (Proc, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Proc{}, err
	}
	// pid (name) state ppid pgrp ...; the name may contain anything.
	open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || shut < open {
		return Proc{}, fmt.Errorf("inventory: /proc/%d/stat is %q", pid, stat)
	}
	fields := strings.Fields(string(stat[shut+1:]))
	const state, parent, group, session, began, resident = 0, 1, 2, 3, 19, 21
	if len(fields) <= resident {
		return Proc{}, fmt.Errorf("inventory: /proc/%d/stat is %q", pid, stat)
	}
	p := Proc{Name: string(stat[open+1 : shut]), State: fields[state][0]}
	var pages int64
	var errs [5]error
	p.Parent, errs[0] = strconv.Atoi(fields[parent])
	p.Group, errs[1] = strconv.Atoi(fields[group])
	p.Session, errs[4] = strconv.Atoi(fields[session])
	p.Began, errs[2] = strconv.ParseUint(fields[began], 10, 64)
	pages, errs[3] = strconv.ParseInt(fields[resident], 10, 64)
	p.Resident = pages * int64(os.Getpagesize())
	return p, errors.Join(errs[:]...)
}

// Descendants returns the processes that descend from this one, without it.
func Descendants() map[int]Proc {
	all := Processes()
	ours := map[int]Proc{}
	self := os.Getpid()
	var belongs func(pid, depth int) bool
	belongs = func(pid, depth int) bool {
		p, known := all[pid]
		switch {
		case pid == self:
			return true
		case !known || depth > len(all):
			return false
		}
		return belongs(p.Parent, depth+1)
	}
	for pid, p := range all {
		if pid != self && belongs(p.Parent, 0) {
			ours[pid] = p
		}
	}
	return ours
}
