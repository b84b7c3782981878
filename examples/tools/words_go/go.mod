module words_go

go 1.21
