package process_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
)

// forkedVariable tells a fork server which role its workers play.
const forkedVariable = "POOLPROOF_TEST_FORKED"

// forkServer returns a fork server in a role, whose workers play another. It is closed
// when the test ends, after which nothing may be left.
func forkServer(t testing.TB, role, forked string, change func(*process.ForkConfig)) *process.ForkServer {
	t.Helper()
	cfg := process.ForkConfig{
		Command: []string{self()},
		Env:     []string{roleVariable + "=" + role, forkedVariable + "=" + forked, raceVariable},
	}
	if change != nil {
		change(&cfg)
	}
	server, err := process.NewForkServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// forkedConfig returns a configuration whose workers come from a fork server and play role.
func forkedConfig(t *testing.T, role string) process.Config {
	t.Helper()
	checkLeftovers(t)
	return process.Config{Fork: forkServer(t, "forker", role, nil)}
}

// forker is a fork server, in Go: it has nothing to load, and executes itself.
type forker struct {
	socket   *net.UnixConn
	children map[uint64]int
}

func newForker() *forker {
	runtime.LockOSThread() // whose end the children's parent-death signal means
	fd, err := strconv.Atoi(os.Getenv(process.ForkServerVariable))
	if err != nil {
		panic(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		panic(err)
	}
	return &forker{socket: conn.(*net.UnixConn), children: make(map[uint64]int)}
}

func (f *forker) send(packet string, fds ...int) {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := f.socket.WriteMsgUnix([]byte(packet), rights, nil); err != nil {
		os.Exit(0) // the host has ended
	}
}

func (f *forker) ready() {
	f.send(fmt.Sprintf(`{"ready":{"protocol":1,"pid":%d}}`, os.Getpid()))
}

type keyed struct{ Key uint64 }

// next returns the next request; it exits if there is none.
func (f *forker) next() (fork, reap *keyed, fds []int) {
	body, control := make([]byte, 1000), make([]byte, 1000)
	n, controlled, _, _, err := f.socket.ReadMsgUnix(body, control)
	if err != nil || n == 0 {
		os.Exit(0)
	}
	var packet struct{ Fork, Reap *keyed }
	if err := json.Unmarshal(body[:n], &packet); err != nil {
		panic(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlled])
	if err != nil {
		panic(err)
	}
	for i := range messages {
		received, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			panic(err)
		}
		fds = append(fds, received...)
	}
	return packet.Fork, packet.Reap, fds
}

// serve serves until the host ends.
func (f *forker) serve() {
	for {
		fork, reap, fds := f.next()
		if fork != nil {
			pid, pidfd := f.start(fds)
			f.children[fork.Key] = pid
			f.send(fmt.Sprintf(`{"forked":{"key":%d,"pid":%d}}`, fork.Key, pid), pidfd)
			unix.Close(pidfd)
		}
		if reap != nil {
			var status syscall.WaitStatus
			if _, err := syscall.Wait4(f.children[reap.Key], &status, 0, nil); err != nil {
				panic(err)
			}
			delete(f.children, reap.Key)
			f.send(fmt.Sprintf(`{"reaped":{"key":%d,"status":%d}}`, reap.Key, status))
		}
	}
}

// start starts a worker with the descriptors, which it closes.
func (f *forker) start(fds []int) (pid, pidfd int) {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	files := []uintptr{uintptr(null), uintptr(fds[2]), uintptr(fds[2]), uintptr(fds[0]), uintptr(fds[1])}
	for _, memory := range fds[3:] {
		files = append(files, uintptr(memory))
	}
	pid, _, err = syscall.StartProcess(self(), []string{self()}, &syscall.ProcAttr{
		Env: []string{
			roleVariable + "=" + os.Getenv(forkedVariable), trialVariable + "=" + os.Getenv(trialVariable),
			process.ChannelVariable + "=3,4", raceVariable,
		},
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd},
	})
	if err != nil {
		panic(err)
	}
	for _, fd := range append(fds, null) {
		unix.Close(fd)
	}
	return pid, pidfd
}

// forkerRoles are fork servers, good and bad.
func forkerRoles() map[string]func(*forker) {
	answered := func(answer string, fds ...int) func(*forker) {
		return func(f *forker) {
			f.ready()
			fork, _, _ := f.next()
			f.send(fmt.Sprintf(answer, fork.Key), fds...)
			f.next()
		}
	}
	return map[string]func(*forker){
		"forker": func(f *forker) { f.ready(); f.serve() },
		"forker-stillborn": func(*forker) {
			fmt.Println("no such module")
			os.Exit(7)
		},
		"forker-mute": func(f *forker) {
			fmt.Println("importing")
			f.next()
		},
		"forker-old":       func(f *forker) { f.send(`{"ready":{"protocol":99,"pid":1}}`); f.next() },
		"forker-babbling":  func(f *forker) { f.send(`hello`); f.next() },
		"forker-unknown":   func(f *forker) { f.send(`{"hello":{}}`); f.next() },
		"forker-twice":     func(f *forker) { f.ready(); f.ready(); f.next(); f.next() },
		"forker-unasked":   func(f *forker) { f.ready(); f.send(`{"reaped":{"key":9,"status":0}}`); f.next(); f.next() },
		"forker-refusing":  answered(`{"failed":{"key":%d,"message":"no memory"}}`),
		"forker-bare":      answered(`{"forked":{"key":%d,"pid":1}}`),
		"forker-lying":     answered(`{"forked":{"key":%d,"pid":1}}`, 0),
		"forker-confused":  answered(`{"reaped":{"key":%d,"status":0}}`),
		"forker-crashing":  func(f *forker) { f.ready(); f.next(); os.Exit(3) },
		"forker-stuck":     func(f *forker) { f.ready(); f.next(); f.next() },
		"forker-departing": func(f *forker) { f.ready(); f.next(); f.socket.Close(); select {} },
		"forker-termless": func(f *forker) {
			signal.Ignore(syscall.SIGTERM)
			f.ready()
			fork, _, fds := f.next()
			pid, pidfd := f.start(fds)
			f.send(fmt.Sprintf(`{"forked":{"key":%d,"pid":%d}}`, fork.Key, pid), pidfd)
			select {}
		},
	}
}
