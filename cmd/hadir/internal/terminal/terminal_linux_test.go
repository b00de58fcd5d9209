package terminal

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pty gives both ends of a pseudo terminal.
func pty(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { person.Close() }) //nolint:errcheck // test
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	return person, program
}

// TestReadSecret: what is typed does not show, and shows again afterwards.
func TestReadSecret(t *testing.T) {
	person, program := pty(t)
	terminal, err := newTerminal(program)
	if err != nil {
		t.Fatal(err)
	}
	screen := bufio.NewReader(person)
	until := func(mark byte) string {
		t.Helper()
		s, err := screen.ReadString(mark)
		if err != nil {
			t.Fatalf("screen %q: %v", s, err)
		}
		return s
	}
	got := make(chan string, 1)
	go func() {
		s, err := terminal.ReadSecret("Password: ")
		if err != nil {
			s = err.Error()
		}
		got <- s
	}()
	shown := until(':') // from here on nothing is shown
	if _, err := person.WriteString("kata sandi ✔\n"); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "kata sandi ✔" {
		t.Errorf("read %q", s)
	}
	shown += until('\n')
	if _, err := person.WriteString("visible\n"); err != nil {
		t.Fatal(err)
	}
	shown += until('\n')
	if strings.Contains(shown, "kata") || !strings.Contains(shown, "visible") {
		t.Errorf("the screen shows %q", shown)
	}
	if err := terminal.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTerminal(file); err == nil {
		t.Error("a file is taken for a terminal")
	}
}
