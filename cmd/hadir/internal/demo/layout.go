package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// layout is where the nodes live. It is kept in the demo's directory.
type layout struct {
	dir   string
	front int     // port
	Nodes []place `json:"nodes"`
}

// place is one node's. The HTTP port follows the front's and is not kept.
type place struct {
	ID     string `json:"id"`
	Peer   int    `json:"peer_port"`
	Gossip int    `json:"gossip_port"`
}

const (
	layoutFile = "demo.json"
	maxNodes   = 9
)

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (l *layout) http(i int) string { return loopback(l.front + i + 1) }
func (l *layout) url(i int) string  { return "http://" + l.http(i) }
func (l *layout) data(i int) string { return filepath.Join(l.dir, l.Nodes[i].ID) }
func (l *layout) log(i int) string  { return filepath.Join(l.dir, l.Nodes[i].ID+".log") }
func (l *layout) index(id string) int {
	for i, n := range l.Nodes {
		if n.ID == id {
			return i
		}
	}
	return -1
}

// arrange reads the layout of a directory that was used before, or makes a new
// one, and finds out whether its ports are free.
func arrange(dir string, nodes, port int) (*layout, error) {
	l := &layout{dir: dir, front: port}
	b, err := os.ReadFile(filepath.Join(dir, layoutFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		used := map[int]bool{}
		for i := range nodes {
			used[port+i+1] = true
		}
		for i := range nodes {
			peer, err := freePort(used)
			if err != nil {
				return nil, err
			}
			gossip, err := freePort(used)
			if err != nil {
				return nil, err
			}
			l.Nodes = append(l.Nodes, place{fmt.Sprintf("n%d", i+1), peer, gossip})
		}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, l); err != nil {
			return nil, fmt.Errorf("%s is damaged: remove it, or give another --dir: %w", filepath.Join(dir, layoutFile), err)
		}
		if len(l.Nodes) != nodes {
			return nil, fmt.Errorf("%s holds a demo of %d nodes: give --nodes %d, or another --dir", dir, len(l.Nodes), len(l.Nodes))
		}
	}
	return l, l.checkPorts()
}

func (l *layout) save() error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(l.dir, layoutFile), append(b, '\n'))
}

// checkPorts tells of a taken port before any process is started. The nodes bind
// them a moment later and would tell too, each in its own log.
func (l *layout) checkPorts() error {
	for i, n := range l.Nodes {
		if err := tryPort(l.front+i+1, false); err != nil {
			return portError(l.front+i+1, fmt.Sprintf("node %s of the demo", n.ID), "another --port", err)
		}
		for _, p := range []struct {
			port int
			udp  bool
		}{{n.Peer, false}, {n.Gossip, true}} {
			if err := tryPort(p.port, p.udp); err != nil {
				return portError(p.port, fmt.Sprintf("node %s of the demo in %s", n.ID, l.dir), "another --dir", err)
			}
		}
	}
	return nil
}

func portError(port int, who, other string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d, which %s needs, is taken: stop the program that uses it, or give %s", port, who, other)
	}
	return fmt.Errorf("port %d, which %s needs: %w", port, who, err)
}

// tryPort binds a port and lets it go.
func tryPort(port int, udp bool) error {
	tcp, err := net.Listen("tcp", loopback(port))
	if err != nil || !udp {
		return errors.Join(err, closeIf(tcp))
	}
	packets, err := net.ListenPacket("udp", loopback(port))
	if err == nil {
		err = packets.Close()
	}
	return errors.Join(err, tcp.Close())
}

func closeIf(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

const portTries = 64

// freePort finds a port that is free for TCP and UDP and not used already.
func freePort(used map[int]bool) (int, error) {
	for range portTries {
		tcp, err := net.Listen("tcp", loopback(0))
		if err != nil {
			return 0, err
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		if err := tcp.Close(); err != nil {
			return 0, err
		}
		if !used[port] && tryPort(port, true) == nil {
			used[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port was found")
}
