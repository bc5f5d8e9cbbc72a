package props

import (
	"os"
	"syscall"
)

// genChildren says whether targets can be run in child processes here.
const genChildren = true

// genChildAttr makes the kernel kill a child when its parent dies.
func genChildAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// genQuit asks a child for the stacks of all its goroutines, and to end.
const genQuit = syscall.SIGQUIT

// genMapAhead maps the file that the parent left at genAheadFD, and keeps what processes of
// the target's own would inherit.
func genMapAhead() ([]byte, error) {
	for _, fd := range []int{genAskFD, genSayFD, genAheadFD} {
		syscall.CloseOnExec(fd)
	}
	mem, err := syscall.Mmap(genAheadFD, 0, genAheadSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return mem, nil
}
