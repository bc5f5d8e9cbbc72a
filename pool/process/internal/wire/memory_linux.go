package wire

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Map maps all of a file of so many bytes, shared, for reading and writing. The file must
// be sealed against a change of its size, so that no access faults later.
func Map(fd, bytes int) ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if stat.Size != int64(bytes) {
		return nil, fmt.Errorf("shared memory has %d bytes, want %d", stat.Size, bytes)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals&want != want {
		return nil, fmt.Errorf("shared memory has the seals %#x, want %#x", seals, want)
	}
	data, err := unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return data, nil
}
