//go:build !linux

package wire

import "testing"

func unbacked(t *testing.T) []byte {
	t.Skip("no shared memory on this system")
	return nil
}
