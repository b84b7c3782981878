module counter_go

go 1.24
