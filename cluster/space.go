//go:build unix

package cluster

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrNoSpace means that the disk has too little room for what was asked; nothing has
// changed. It is wrapped with how much is missing.
var ErrNoSpace = errors.New("too little space on the disk")

// spareSpace is what must be left beside what is about to be written.
const spareSpace = 64 << 20

// needSpace gives ErrNoSpace where so many bytes, and some to spare, do not fit.
func needSpace(free func() (uint64, error), bytes uint64) error {
	left, err := free()
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if want := bytes + spareSpace; want < bytes || left < want {
		return fmt.Errorf("%w: %d MiB are left and %d MiB are needed", ErrNoSpace, left>>20, (bytes>>20)+spareSpace>>20)
	}
	return nil
}

// freeSpace gives how many bytes can still be written below dir.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:unconvert,nolintlint // another type on other systems
}
