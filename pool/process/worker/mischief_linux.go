package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Failure is how far a method of Mischief came before the kernel refused it more.
type Failure struct {
	Done  int    `json:"done"`  // descriptors opened, or bytes written
	Error string `json:"error"` // the error's name, such as "EMFILE"; empty: none
}

// Mischief returns what the demo worker in python/demo.py can do to its process beside the
// methods of Demo, for tests of limits and for chaos:
//
//   - hog fills so many more bytes of memory and returns how many are resident now;
//   - exhaust opens descriptors, and keeps them, until it is refused or has opened most,
//     and returns a Failure;
//   - write_file writes so many bytes to a new file and returns a Failure; a full disk and
//     RLIMIT_FSIZE are errors, as SIGXFSZ is ignored from then on;
//   - noise writes so many bytes, which look like frames, to standard output and error each;
//   - spawn starts a process that sleeps for an hour, and returns its ID.
//
// It is for a worker that has a process to itself.
func Mischief() map[string]Method {
	var mu sync.Mutex
	var hoard [][]byte
	var opened []*os.File
	return map[string]Method{
		"hog": Func(func(_ context.Context, p struct {
			Bytes int `json:"bytes"`
		},
		) (int, error) {
			more := bytes.Repeat([]byte{1}, p.Bytes)
			mu.Lock()
			defer mu.Unlock()
			hoard = append(hoard, more)
			return residentBytes()
		}),
		"exhaust": Func(func(_ context.Context, p struct {
			Most int `json:"most"`
		},
		) (Failure, error) {
			mu.Lock()
			defer mu.Unlock()
			for n := range p.Most {
				file, err := os.Open(os.DevNull)
				if err != nil {
					return failureOf(n, err)
				}
				opened = append(opened, file)
			}
			return Failure{Done: p.Most}, nil
		}),
		"write_file": Func(writeFile),
		"noise":      Func(noise),
		"spawn": Func(func(context.Context, struct{}) (int, error) {
			child := exec.Command("sleep", "3600")
			if err := child.Start(); err != nil {
				return 0, err
			}
			go child.Wait()
			return child.Process.Pid, nil
		}),
	}
}

// failureOf says how an error of the kernel's is named. Others are returned.
func failureOf(done int, err error) (Failure, error) {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return Failure{}, err
	}
	return Failure{Done: done, Error: unix.ErrnoName(errno)}, nil
}

// residentBytes returns how much of this process is resident.
func residentBytes() (int, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var mapped, resident int
	if _, err := fmt.Sscan(string(statm), &mapped, &resident); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return resident * os.Getpagesize(), nil
}

func writeFile(_ context.Context, p struct {
	Path  string `json:"path"`
	Bytes int    `json:"bytes"`
},
) (Failure, error) {
	signal.Ignore(syscall.SIGXFSZ)
	file, err := os.OpenFile(p.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return failureOf(0, err)
	}
	defer file.Close()
	n, err := file.Write(make([]byte, p.Bytes))
	if err != nil {
		return failureOf(n, err)
	}
	return Failure{Done: n}, nil
}

func noise(_ context.Context, p struct {
	Bytes int `json:"bytes"`
},
) (bool, error) {
	const frame = "\x00\x00\x00\x02{}\n"
	junk := bytes.Repeat([]byte(frame), p.Bytes/len(frame)+1)[:p.Bytes]
	for _, to := range []*os.File{os.Stdout, os.Stderr} {
		if _, err := to.Write(junk); err != nil {
			return false, err
		}
	}
	return true, nil
}
