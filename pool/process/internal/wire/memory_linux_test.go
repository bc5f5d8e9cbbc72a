package wire

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memory returns a memfd of so many bytes with seals.
func memory(t *testing.T, bytes, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, int64(bytes)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

// unbacked returns mapped memory behind which there is no file any more.
func unbacked(t *testing.T) []byte {
	t.Helper()
	size := os.Getpagesize()
	fd := memory(t, size, 0)
	data, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(data) })
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestMapChecksTheFile(t *testing.T) {
	const size, sealed = 1 << 16, unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	data, err := Map(memory(t, size, sealed), size)
	if err != nil {
		t.Fatal(err)
	}
	data[size-1] = 1
	unix.Munmap(data)
	for want, fd := range map[string]int{
		"bytes": memory(t, size/2, sealed),
		"seals": memory(t, size, unix.F_SEAL_GROW),
		"fstat": -1,
	} {
		if _, err := Map(fd, size); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}
