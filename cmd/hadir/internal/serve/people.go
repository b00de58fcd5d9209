package serve

import (
	"encoding/json"
	"fmt"
	"os"

	"hadir/attendance"
)

// People are sample people for a new cluster. Passwords are here as hashes only.
type People struct {
	Users  []Person `json:"users"`
	Groups []Group  `json:"groups"`
	// Accounts are offered for sign-in by one click.
	Accounts []Account `json:"accounts"`
}

// Person is one user. The n-th person gets the id n.
type Person struct {
	Name         string `json:"name"`
	Email        string `json:"email"`
	Role         string `json:"role"`
	PasswordHash string `json:"password_hash"`
}

// Group is a class. Members and teachers are positions in Users, from 1: in a
// new cluster these are the ids.
type Group struct {
	Name     string   `json:"name"`
	Members  []uint64 `json:"members"`
	Teachers []uint64 `json:"teachers"`
}

// Account is an offer to sign in.
type Account struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
	Role     string `json:"role"`
}

// ReadPeople reads a file that hadir demo wrote.
func ReadPeople(path string) (*People, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--demo-people-file: %w", err)
	}
	var p People
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("--demo-people-file: %s: %w", path, err)
	}
	for _, u := range p.Users {
		if _, ok := attendance.ParseRole(u.Role); !ok {
			return nil, fmt.Errorf("--demo-people-file: %s: role %q is not known", path, u.Role)
		}
	}
	return &p, nil
}
