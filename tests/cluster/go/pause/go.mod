module burger.example/cluster/pause

go 1.24.0
