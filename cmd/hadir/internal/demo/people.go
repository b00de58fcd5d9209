package demo

import (
	"fmt"
	"io"
	"strings"

	"hadir/cmd/hadir/internal/serve"
)

// The demo's passwords, one for each role. They are printed and offered on the
// sign-in page: everything is bound to this machine.
const (
	adminPassword   = "hadir-demo-admin"
	teacherPassword = "hadir-demo-guru"
	studentPassword = "hadir-demo-siswa"
)

const domain = "@sekolah.example"

const adminName = "Ratna Kusumawati"

// classes of the sample school: one teacher and twelve students each.
func classes() []class {
	return []class{
		{"X-IPA-1", "Bambang Setiawan", []string{
			"Aditya Pratama", "Ayu Lestari", "Bagas Saputra", "Citra Maharani", "Dewi Anggraini", "Fajar Nugroho",
			"Gita Permatasari", "Hendra Wijaya", "Intan Puspitasari", "Joko Susilo", "Kartika Sari", "Lukman Hakim",
		}},
		{"X-IPA-2", "Sri Wahyuni", []string{
			"Made Wirawan", "Nadia Safitri", "Oki Ramadhan", "Putri Amelia", "Rizky Firmansyah", "Salsabila Zahra",
			"Taufik Hidayat", "Umi Kalsum", "Vina Oktaviani", "Wahyu Kurniawan", "Yuni Astuti", "Zainal Arifin",
		}},
		{"X-IPS-1", "Yohanes Manalu", []string{
			"Andi Baso", "Bunga Cempaka", "Cahyo Purnomo", "Dian Novitasari", "Eka Putra Siregar", "Fitri Handayani",
			"Galih Prakoso", "Hana Simanjuntak", "Ilham Maulana", "Jihan Aulia", "Komang Sudarsana", "Laras Wulandari",
		}},
	}
}

type class struct {
	name, teacher string
	students      []string
}

// people gives the sample school. Each role has one password, hashed once: the
// cost of hashing forty is better spent on starting.
func people(rand io.Reader, hash func(io.Reader, string) (string, error)) (*serve.People, error) {
	hashes := map[string]string{}
	for role, password := range map[string]string{"admin": adminPassword, "teacher": teacherPassword, "student": studentPassword} {
		h, err := hash(rand, password)
		if err != nil {
			return nil, err
		}
		hashes[role] = h
	}
	p := &serve.People{}
	add := func(name, role string) uint64 {
		p.Users = append(p.Users, serve.Person{Name: name, Email: email(name, role), Role: role, PasswordHash: hashes[role]})
		return uint64(len(p.Users))
	}
	add(adminName, "admin")
	p.Accounts = append(p.Accounts, account(adminName, "admin"))
	all := classes()
	for _, c := range all {
		p.Groups = append(p.Groups, serve.Group{Name: c.name, Teachers: []uint64{add(c.teacher, "teacher")}})
		p.Accounts = append(p.Accounts, account(c.teacher, "teacher"))
	}
	for i, c := range all {
		for _, s := range c.students {
			p.Groups[i].Members = append(p.Groups[i].Members, add(s, "student"))
		}
		p.Accounts = append(p.Accounts, account(c.students[0], "student"))
	}
	return p, nil
}

// Admin gives the administrator of every demo.
func Admin() serve.Account { return account(adminName, "admin") }

// everybody gives the accounts of all sample people, administrator first.
func everybody() []serve.Account {
	all := []serve.Account{account(adminName, "admin")}
	for _, c := range classes() {
		all = append(all, account(c.teacher, "teacher"))
	}
	for _, c := range classes() {
		for _, s := range c.students {
			all = append(all, account(s, "student"))
		}
	}
	return all
}

func account(name, role string) serve.Account {
	passwords := map[string]string{"admin": adminPassword, "teacher": teacherPassword, "student": studentPassword}
	return serve.Account{Name: name, Email: email(name, role), Password: passwords[role], Role: role}
}

// email makes an address of a name; the administrator's is easy to type.
func email(name, role string) string {
	if role == "admin" {
		return "admin" + domain
	}
	return fmt.Sprintf("%s%s", strings.ReplaceAll(strings.ToLower(name), " ", "."), domain)
}
