package process_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process/worker"
)

// lifeRoles are the parts that tests of the life of processes need.
func lifeRoles() map[string]func(methods map[string]worker.Method) {
	return map[string]func(map[string]worker.Method){
		"limited": func(methods map[string]worker.Method) { // tells its limits
			methods["limits"] = worker.Func(func(context.Context, struct{}) (limits, error) { return ownLimits() })
			worker.Main(methods)
		},
		"mischievous": func(methods map[string]worker.Method) {
			maps.Copy(methods, worker.Mischief())
			worker.Main(methods)
		},
		"flood":   playFlood,
		"glutton": playGlutton,
		"guest":   playGuest,
		"bare": func(map[string]worker.Method) { // is there, no more
			os.Stdout.Write([]byte("x"))
			os.Stdin.Read(make([]byte, 1))
		},
		"leaver":   playLeaver,
		"runaways": playRunaways,
		"sleeper":  playSleeper,

		"trial-host":   func(map[string]worker.Method) { playTrialHost() },
		"trial-worker": playTrialWorker,
		"denied":       func(map[string]worker.Method) { playDenied() },
		"old-kernel":   func(map[string]worker.Method) { playOldKernel() },
	}
}

// limits are what a process runs under.
type limits struct {
	AddressSpace, OpenFiles, Core uint64
	Umask, Dir                    string
	Nice                          []int // of each thread
}

// ownLimits returns the limits of this process.
func ownLimits() (got limits, err error) {
	for resource, to := range map[int]*uint64{
		unix.RLIMIT_AS: &got.AddressSpace, unix.RLIMIT_NOFILE: &got.OpenFiles, unix.RLIMIT_CORE: &got.Core,
	} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(resource, &limit); err != nil {
			return got, err
		}
		*to = limit.Max
	}
	if got.Umask, err = ownUmask(); err != nil {
		return got, err
	}
	if got.Dir, err = os.Getwd(); err != nil {
		return got, err
	}
	got.Nice, err = ownNiceness()
	return got, err
}

// ownUmask returns the umask of the main thread, without changing it.
func ownUmask() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "\nUmask:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line), err
}

// ownNiceness returns the niceness of each thread.
func ownNiceness() (all []int, err error) {
	threads, err := filepath.Glob("/proc/self/task/[0-9]*")
	for _, thread := range threads {
		tid, _ := strconv.Atoi(filepath.Base(thread))
		if inverse, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil { // threads come and go
			all = append(all, 20-inverse)
		}
	}
	return all, err
}

// deny has the kernel refuse a system call, with err, to this process and its children.
func deny(call int, err unix.Errno) {
	type filter = unix.SockFilter
	program := []filter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(call)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(err)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	install(program)
}

// denyGroupSignals has the kernel refuse to signal a group by a pidfd, as it did before
// Linux 6.9.
func denyGroupSignals() {
	const call, flags = 0, 16 + 3*8 // where the number and the fourth argument are
	install([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: call},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_PIDFD_SEND_SIGNAL},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
}

// install makes a filter of system calls that of every thread of this process.
func install(program []unix.SockFilter) {
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		panic(errno)
	}
}
