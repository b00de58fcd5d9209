//go:build linux || darwin

package terminal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Terminal is the one that the process was started from.
type Terminal struct {
	file *os.File
	was  unix.Termios
}

// Open gives the terminal of this process. It fails where there is none, as in a
// service or a pipeline of another machine.
func Open() (*Terminal, error) {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return newTerminal(file)
}

func newTerminal(file *os.File) (*Terminal, error) {
	was, err := unix.IoctlGetTermios(int(file.Fd()), getTermios)
	if err != nil {
		file.Close() //nolint:errcheck // there is a first error to report
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return &Terminal{file: file, was: *was}, nil
}

// ReadSecret shows a label and reads a line without showing it. It blocks until
// the line ends; what is typed shows again after it, or after Close.
func (t *Terminal) ReadSecret(label string) (string, error) {
	quiet := t.was
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(int(t.file.Fd()), setTermios, &quiet); err != nil {
		return "", err
	}
	if _, err := io.WriteString(t.file, label); err != nil {
		return "", errors.Join(err, t.restore())
	}
	line, err := bufio.NewReader(t.file).ReadString('\n')
	_, shown := io.WriteString(t.file, "\n") // the one that was typed did not show
	return strings.TrimRight(line, "\r\n"), errors.Join(err, shown, t.restore())
}

func (t *Terminal) restore() error {
	return unix.IoctlSetTermios(int(t.file.Fd()), setTermios, &t.was)
}

// Close leaves the terminal as it was, also while somebody waits in ReadSecret.
func (t *Terminal) Close() error { return errors.Join(t.restore(), t.file.Close()) }
